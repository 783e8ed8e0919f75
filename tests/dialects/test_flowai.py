"""FlowAI's answer and its stream: the seed's frames byte for byte, in the seed's order."""

import json
import re
from typing import Any

import pytest
import requests

from tests.dialects.caller import Caller, Deployed
from tests.dialects.dialects import FLOWAI
from tests.dialects.documents import api_input, conversation, failing, flow, output, prompt, template, text, waiting
from tests.dialects.frames import Event, joined, read_events
from tests.dialects.model import Model

SEED = r"""event:msg
data:{"Node":"myinput","Msg":"start","Type":"start","Data":{"input":"Are you there?"}}

event:msg
data:{"Node":"myinput","Msg":"Start node Start, type in","Type":"start_node","Data":null}

event:msg
data:{"Node":"myinput","Msg":"Finish node Start, type in","Type":"finish_node","Data":{"time_spend":SECONDS}}

event:msg
data:{"Node":"1741675999864","Msg":"Start node LLM1, type llm","Type":"start_node","Data":null}

STREAM
event:msg
data:{"Node":"1741675999864","Msg":"Finish node LLM1, type llm","Type":"finish_node","Data":{"time_spend":SECONDS}}

event:msg
data:{"Node":"1741676038250","Msg":"Start node Output 1, type out","Type":"start_node","Data":null}

event:msg
data:{"Node":"1741676038250","Msg":"Finish node Output 1, type out","Type":"finish_node","Data":{"time_spend":SECONDS}}

event:output
data:{"output":"Yes, I'm here.","total_time":SECONDS}

"""
"""What the seed prints, but for how long things took and how finely the model's words are cut."""

_STREAM_FRAME = r'event:stream\ndata:\{"Content":"([^"\\]*)","Node":"1741675999864","Reasoning":null\}\n\n'


@pytest.fixture(scope="module")
def talking(admin: Caller) -> Deployed:
    return admin.deploy(conversation())


def streamed(answer: requests.Response) -> list[Event]:
    """The events of a stream; comments between them are passed over."""
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert "no-transform" in answer.headers["Cache-Control"]
    assert answer.headers["Headgate-Run-Id"]
    return joined(read_events(answer.content.decode()))


def kinds(events: list[Event]) -> list[tuple[str, Any]]:
    """The order of a stream: what of which node."""
    return [(event.data.get("Type", event.type), event.data.get("Node")) for event in events]


def test_d17_the_standard_answer(admin: Caller, talking: Deployed) -> None:
    body = admin.post(FLOWAI.at(talking.id), {"input": {"input": "Are you there?"}}).json()
    assert list(body) == ["output", "total_time"]
    assert body["output"] == "Yes, I'm here."
    assert 0 < body["total_time"] < 10
    unstreamed = admin.post(FLOWAI.at(talking.id), {"input": {"input": "x"}, "stream": False}).json()
    assert unstreamed["output"] == "You said: x"


def test_d18_the_frames_are_the_seed_s_byte_for_byte(admin: Caller, talking: Deployed) -> None:
    answer = admin.post(FLOWAI.at(talking.id), {"input": {"input": "Are you there?"}, "stream": True})
    pattern = re.escape(SEED).replace("SECONDS", r"[0-9]+(\.[0-9]+)?(e-?[0-9]+)?")
    assert re.fullmatch(pattern.replace("STREAM\\\n", f"(?:{_STREAM_FRAME})+"), answer.content.decode())
    assert "".join(re.findall(_STREAM_FRAME, answer.content.decode())) == "Yes, I'm here."


def test_d26_the_order_is_start_then_each_node_then_output(admin: Caller, talking: Deployed) -> None:
    answer = admin.post(FLOWAI.at(talking.id), {"input": {"input": "Are you there?"}, "stream": True})
    llm, out = "1741675999864", "1741676038250"
    assert kinds(streamed(answer)) == [
        ("start", "myinput"),
        ("start_node", "myinput"),
        ("finish_node", "myinput"),
        ("start_node", llm),
        ("stream", llm),
        ("finish_node", llm),
        ("start_node", out),
        ("finish_node", out),
        ("output", None),
    ]


def test_d22_words_are_streamed_while_the_model_speaks(admin: Caller, model: Model) -> None:
    """A second model is asked once the first has spoken: what the first said is here before the second may answer."""
    ask = {"id": "ask", "type": "http_request", "config": {"method": "GET", "url": "{{ in.address }}"}}
    fields = [text("input"), text("address")]
    nodes = [api_input(*fields), prompt("llm", "{{ in.input }}"), ask, output("{{ llm.text }}")]
    deployed = admin.deploy(flow(nodes))
    with model.held() as address:
        body = {"input": {"input": "Hello", "address": address}, "stream": True}
        answer = admin.post(FLOWAI.at(deployed.id), body, stream=True)
        lines = answer.iter_lines(chunk_size=1)
        heard = next(line for line in lines if line == b"event:stream")
    assert heard
    assert b"event:output" in list(lines)


def test_d23_reasoning_carries_what_the_model_thinks(admin: Caller, talking: Deployed, model: Model) -> None:
    model.reasoning = ["Somebody asks. ", "I am here."]
    try:
        answer = admin.post(FLOWAI.at(talking.id), {"input": {"input": "Are you there?"}, "stream": True})
    finally:
        model.reasoning = []
    events = [event.data for event in read_events(answer.content.decode()) if event.type == "stream"]
    assert "".join(event["Reasoning"] or "" for event in events) == "Somebody asks. I am here."
    assert "".join(event["Content"] for event in events) == "Yes, I'm here."
    assert all(list(event) == ["Content", "Node", "Reasoning"] for event in events)


def test_d21_other_node_types_go_by_their_own_names_and_a_node_without_a_name_by_its_id(admin: Caller) -> None:
    deployed = admin.deploy(flow([api_input(text()), template("{{ in.text }}"), output("{{ say.text }}")]))
    events = streamed(admin.post(FLOWAI.at(deployed.id), {"input": {"text": "x"}, "stream": True}))
    assert [event.data["Msg"] for event in events if event.type == "msg"] == [
        "start",
        "Start node in, type in",
        "Finish node in, type in",
        "Start node say, type template",
        "Finish node say, type template",
        "Start node out, type out",
        "Finish node out, type out",
    ]


def test_d25_a_run_that_fails_ends_with_an_error_event(admin: Caller) -> None:
    events = streamed(admin.post(FLOWAI.at(admin.deploy(failing()).id), {"input": {"text": "x"}, "stream": True}))
    assert kinds(events)[-2:] == [("start_node", "broken"), ("error", "broken")]
    assert set(events[-1].data) == {"error", "code", "Node"}
    assert events[-1].data["code"] == "node_failed"
    assert events[-1].data["error"]


def test_d25_a_cancelled_run_ends_with_an_error_event(admin: Caller, model: Model) -> None:
    deployed = admin.deploy(waiting())
    with model.held() as address:
        answer = admin.post(FLOWAI.at(deployed.id), {"input": {"text": address}, "stream": True}, stream=True)
        assert admin.post(f"/v1/runs/{answer.headers['Headgate-Run-Id']}/cancel").status_code == 202
        (*_, last) = read_events(answer.content.decode())
    assert (last.type, last.data["code"], last.data["Node"]) == ("error", "cancelled", None)


def test_a_node_that_is_tried_again_starts_once(admin: Caller, model: Model) -> None:
    ask = {
        "id": "ask",
        "type": "http_request",
        "config": {"method": "GET", "url": f"{model.url}/refused"},
        "retry": {"max_attempts": 3, "backoff_seconds": 0.01},
        "on_error": "continue",
    }
    deployed = admin.deploy(flow([api_input(text()), ask, output("{{ ask.error.code }}")]))
    answer = admin.post(FLOWAI.at(deployed.id), {"input": {"text": "x"}, "stream": True})
    events = streamed(answer)
    assert [kind for kind in kinds(events) if kind[1] == "ask"] == [("start_node", "ask"), ("finish_node", "ask")]
    finish = next(e.data["Data"] for e in events if (e.data.get("Type"), e.data.get("Node")) == ("finish_node", "ask"))
    assert set(finish) == {"time_spend", "error"}
    assert events[-1].data["output"] == "node_failed"
    told = admin.get(f"/v1/runs/{answer.headers['Headgate-Run-Id']}/events").json()["data"]
    assert sum(event["type"] == "node.retrying" for event in told) == 2


def test_a_stream_that_may_not_begin_is_an_error_and_no_stream(admin: Caller, repeater: Deployed) -> None:
    path = FLOWAI.at(repeater.id)
    FLOWAI.error(admin.post(path, {"input": {}, "stream": True}), 400, "invalid_input")
    FLOWAI.error(admin.having("").post(path, {"input": {"text": "x"}, "stream": True}), 401, "unauthorized")
    FLOWAI.error(admin.post(path, {"input": {"text": "x"}, "stream": "yes"}), 400, "invalid_input")


def test_a_stream_asked_for_again_after_a_redeploy_is_of_the_version_that_ran(admin: Caller) -> None:
    def document(node: str) -> dict[str, Any]:
        return flow([api_input(text()), template("{{ in.text }}", node), output("{{ " + node + ".text }}")])

    first = document("before")
    deployed = admin.deploy(first)
    headers = {"X-API-Key": admin.key, "Idempotency-Key": "over-versions"}
    body = {"input": {"text": "x"}, "stream": True}
    once = admin.post(FLOWAI.at(deployed.id), body, headers=headers)
    assert admin.call("PUT", f"/v1/flows/{deployed.flow_id}", {**document("after"), "name": first["name"]}).ok
    assert admin.post(f"/v1/deployments/{deployed.id}/redeploy").ok
    again = admin.post(FLOWAI.at(deployed.id), body, headers=headers)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.content == once.content


def test_a_reader_that_leaves_stops_nothing(admin: Caller, model: Model) -> None:
    deployed = admin.deploy(waiting())
    with model.held() as address:
        answer = admin.post(FLOWAI.at(deployed.id), {"input": {"text": address}, "stream": True}, stream=True)
        run_id = answer.headers["Headgate-Run-Id"]
        answer.close()
        assert admin.get(f"/v1/runs/{run_id}").json()["status"] in ("queued", "running")
    assert admin.until(f"/v1/runs/{run_id}", "completed")["output"] == "let go"


def test_d34_an_input_node_may_validate_what_the_seed_leaves_to_clients(admin: Caller) -> None:
    phone = text("phone", required=True, pattern="^1[0-9]{10}$", max_length=11)
    deployed = admin.deploy(flow([api_input(phone), template("{{ in.phone }}")]))
    assert admin.post(FLOWAI.at(deployed.id), {"input": {"phone": "13800138000"}}).ok
    answer = admin.post(FLOWAI.at(deployed.id), {"input": {"phone": "call me"}})
    assert "/input/phone" in FLOWAI.error(answer, 400, "invalid_input")


def test_data_of_the_start_has_the_input_with_its_defaults(admin: Caller) -> None:
    deployed = admin.deploy(flow([api_input(text("a"), text("b", default="B")), template("x")]))
    events = streamed(admin.post(FLOWAI.at(deployed.id), {"input": {"a": "A"}, "stream": True}))
    assert events[0].data["Data"] == {"a": "A", "b": "B"}
    assert json.dumps(events[-1].data["output"]) == '{"text": "x"}'
