"""Each of the seeds' own samples, run as written in a real curl, Python or Node process (see `samples/README.md`)."""

import json
from pathlib import Path

import pytest

from tests.dialects.caller import Caller, Deployed
from tests.dialects.clients import Shell, sample
from tests.dialects.documents import api_input, chat, conversation, flow, output, template, text
from tests.dialects.frames import read_events
from tests.dialects.model import Model


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.fixture(scope="module")
def one_parameter(admin: Caller) -> Deployed:
    """The flow that aicuflow's samples call."""
    fields = [text("param1", required=True)]
    return admin.deploy(flow([api_input(*fields), template("Got {{ in.param1 }}"), output({"said": "{{ say.text }}"})]))


@pytest.fixture(scope="module")
def open_chat(admin: Caller) -> Deployed:
    """The flow that Langflow's samples without a key call."""
    return admin.deploy(chat(), public=True)


def aicuflow(url: str, deployed: Deployed) -> dict[str, str]:
    return {
        "https://backend.aicuflow.com": url,
        "af86a8a6-40f2-4b92-9f83-c9b3bafb2ccb": deployed.id,
        "sk-EuT64********oyU_O": deployed.key,
    }


def flowai(url: str, deployed: Deployed) -> dict[str, str]:
    return {"https://flowai.cc": url, ":workflow_ID": deployed.id, "<KEY>": deployed.key}


def test_a16_aicuflow_curl(shell: Shell, admin: Caller, one_parameter: Deployed) -> None:
    status, body = shell.curl(sample("aicuflow-curl", aicuflow(admin.url, one_parameter)))
    answer = json.loads(body)
    assert (status, answer["status"]) == (200, "success")
    assert answer["data"]["output_data"] == {"said": "Got value1"}
    assert answer["data"]["status"] == "completed"
    assert answer["data"]["duration_seconds"] > 0


def test_a20_aicuflow_python(shell: Shell, admin: Caller, one_parameter: Deployed) -> None:
    printed = shell.python(sample("aicuflow-python", aicuflow(admin.url, one_parameter)))
    assert printed[:2] == ["Status: completed", "Output: {'said': 'Got value1'}"]
    assert float(printed[2].removeprefix("Duration: ").removesuffix(" seconds")) > 0


def test_a20_aicuflow_javascript(shell: Shell, admin: Caller, one_parameter: Deployed) -> None:
    printed = shell.node(sample("aicuflow-javascript", aicuflow(admin.url, one_parameter)))
    assert printed[:2] == ["Status: completed", "Output: { said: 'Got value1' }"]
    assert float(printed[2].removeprefix("Duration: ").removesuffix(" seconds")) > 0


@pytest.mark.parametrize("language", ["python", "javascript"])
def test_a21_aicuflow_clients_show_the_message_of_an_error(language: str, shell: Shell, admin: Caller) -> None:
    needs_more = admin.deploy(flow([api_input(text("param2", required=True)), template("{{ in.param2 }}")]))
    program = sample(f"aicuflow-{language}", aicuflow(admin.url, needs_more))
    with pytest.raises(AssertionError, match=r"API Error: .*param2"):
        (shell.python if language == "python" else shell.node)(program)


def test_b14_evaligo_submits_and_polls_with_curl(shell: Shell, admin: Caller) -> None:
    fields = [text("url", required=True), text("query", required=True)]
    deployed = admin.deploy(flow([api_input(*fields), template("{{ in.query }} of {{ in.url }}")]))
    theirs = {"https://api.evaligo.com": admin.url, "YOUR_API_KEY": deployed.key}
    status, body = shell.curl(sample("evaligo-submit", {**theirs, "abc123": deployed.flow_id}))
    receipt = json.loads(body)
    assert status == 202
    assert receipt == {"job_id": receipt["job_id"], "status": "queued", "flow_id": deployed.flow_id}
    admin.until(f"/public/v1/jobs/{receipt['job_id']}", "completed")
    status, body = shell.curl(sample("evaligo-poll", {**theirs, "{job_id}": receipt["job_id"]}))
    job = json.loads(body)
    assert status == 200
    assert list(job) == ["job_id", "status", "flow_id", "result", "execution_time_seconds", "completed_at"]
    assert job["result"] == {"output": {"text": "your data of https://example.com"}}


def test_c3_langflow_basic_without_a_key(shell: Shell, admin: Caller, open_chat: Deployed) -> None:
    endpoint = f"{admin.url}/langflow/api/v1/flows/{open_chat.flow_id}/run"
    status, body = shell.curl(sample("langflow-basic", {"your-flow-endpoint": endpoint}))
    answer = json.loads(body)
    assert (status, list(answer)) == (200, ["result", "session_id", "metadata"])
    assert answer["result"] == {"output": "You said: Hello, how are you?"}
    assert answer["metadata"] == {"duration": answer["metadata"]["duration"], "tokens_used": 45}


def test_c4_langflow_with_parameters(shell: Shell, admin: Caller, open_chat: Deployed, model: Model) -> None:
    endpoint = f"{admin.url}/langflow/api/v1/flows/{open_chat.flow_id}/run"
    status, body = shell.curl(sample("langflow-parameters", {"your-flow-endpoint": endpoint}))
    assert (status, json.loads(body)["result"]["output"]) == (200, "You said: Summarize this document")
    asked = model.asked[-1]
    assert (asked["model"], asked["temperature"]) == ("gpt-4o", 0.5)
    assert asked["messages"][-1]["content"] == "Summarize this document"


def test_c7_langflow_with_a_key(shell: Shell, admin: Caller) -> None:
    deployed = admin.deploy(chat())
    endpoint = f"{admin.url}/langflow/api/v1/flows/{deployed.id}/run"
    theirs = {"your-flow-endpoint": endpoint, "YOUR_API_KEY": deployed.key}
    status, body = shell.curl(sample("langflow-key", theirs))
    assert (status, json.loads(body)["result"]["output"]) == (200, "You said: Hello")


def test_c16_langflow_stateless_without_a_content_type(shell: Shell, admin: Caller, open_chat: Deployed) -> None:
    endpoint = f"{admin.url}/langflow/api/v1/flows/{open_chat.flow_id}/run"
    text_of = sample("langflow-stateless", {'"endpoint"': f'"{endpoint}"'})
    answers = [json.loads(shell.curl(text_of)[1]) for _ in range(2)]
    assert [answer["result"]["output"] for answer in answers] == ["You said: Hello"] * 2
    assert answers[0]["session_id"] != answers[1]["session_id"]


def test_c17_langflow_remembers_a_session(shell: Shell, admin: Caller, open_chat: Deployed) -> None:
    theirs = {'"endpoint"': f'"{admin.url}/langflow/api/v1/flows/{open_chat.flow_id}/run"'}
    _, body = shell.curl(sample("langflow-session-first", theirs))
    session_id = json.loads(body)["session_id"]
    _, body = shell.curl(sample("langflow-session-next", {**theirs, "abc123": session_id}))
    answer = json.loads(body)
    assert answer["result"]["output"] == "Your name is Alice."
    assert answer["session_id"] == session_id
    _, body = shell.curl(sample("langflow-session-next", {**theirs, "abc123": "somebody-else"}))
    assert json.loads(body)["result"]["output"] == "You did not tell me."


@pytest.mark.parametrize(
    "given",
    [{"url": "http://example.com/image.jpg"}, {"text": "Text content to be processed"}, {"input": "Are you there?"}],
    ids=["D13", "D14", "D15"],
)
def test_d12_flowai_call_format(given: dict[str, str], shell: Shell, admin: Caller) -> None:
    (field,) = given
    deployed = admin.deploy(flow([api_input(text(field, required=True)), template("{{ in." + field + " }}")]))
    theirs = {**flowai(admin.url, deployed), "<input_parameters>": json.dumps(given)}
    status, body = shell.curl(sample("flowai-format", theirs))
    assert (status, json.loads(body)["output"]) == (200, {"text": given[field]})


def test_d17_flowai_standard_output(shell: Shell, admin: Caller) -> None:
    status, body = shell.curl(sample("flowai-standard", flowai(admin.url, admin.deploy(conversation()))))
    answer = json.loads(body)
    assert (status, list(answer)) == (200, ["output", "total_time"])
    assert answer["output"] == "Yes, I'm here."
    assert answer["total_time"] > 0


def test_d30_flowai_streaming_output_is_read_by_the_rules_of_sse(shell: Shell, admin: Caller) -> None:
    status, body = shell.curl(sample("flowai-streaming", flowai(admin.url, admin.deploy(conversation()))))
    events = read_events(body)
    assert status == 200
    assert {event.type for event in events} == {"msg", "stream", "output"}
    assert "".join(event.data["Content"] for event in events if event.type == "stream") == "Yes, I'm here."
    assert events[-1].type == "output"
    assert events[-1].data["output"] == "Yes, I'm here."


def test_e9_fluxprompt_curl(shell: Shell, admin: Caller) -> None:
    node = api_input(text("question", required=True), node_id="data-input-1")
    deployed = admin.deploy(flow([node, template("Read: {{ data-input-1.question }}"), output("{{ say.text }}")]))
    theirs = {
        "https://api.fluxprompt.ai": admin.url,
        "YOUR_WORKFLOW_ID": deployed.flow_id,
        "YOUR_API_KEY": deployed.key,
        "YOUR_INPUT_NODE_ID": "data-input-1",
    }
    status, body = shell.curl(sample("fluxprompt-curl", theirs))
    answer = json.loads(body)
    assert (status, list(answer)) == (200, ["status", "runId", "output", "outputs"])
    assert answer["status"] == "completed"
    assert answer["output"] == "Read: Your input text here"
    assert answer["outputs"] == [{"outputId": "out", "outputText": "Read: Your input text here"}]
