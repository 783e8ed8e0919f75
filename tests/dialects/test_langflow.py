"""Langflow's two forms: the guide's answer and the real server's, sessions, tweaks, streams asked for in either way."""

import json
from typing import Any

import pytest
import requests

from tests.dialects.caller import Caller, Deployed
from tests.dialects.dialects import LANGFLOW, LANGFLOW_SERVER, Dialect
from tests.dialects.documents import api_input, chat, failing, flow, output, prompt, template, text
from tests.dialects.frames import Event, read_objects
from tests.dialects.model import Model

both = pytest.mark.parametrize("dialect", [LANGFLOW, LANGFLOW_SERVER], ids=lambda dialect: dialect.name)


@pytest.fixture(scope="module")
def chatting(admin: Caller) -> Deployed:
    return admin.deploy(chat())


def streamed(answer: requests.Response) -> list[Event]:
    """The frames of a stream, for which every byte was looked at."""
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["Headgate-Run-Id"]
    stream = answer.content.decode()
    assert "data:" not in stream
    for frame in stream.removesuffix("\n\n").split("\n\n"):
        assert frame == json.dumps(json.loads(frame), separators=(",", ":"), ensure_ascii=False)
    return read_objects(stream)


def test_c5_the_guide_s_answer(admin: Caller, chatting: Deployed) -> None:
    body = admin.post(LANGFLOW.at(chatting.id), {"input_value": "Hi", "session_id": "abc123"}).json()
    assert list(body) == ["result", "session_id", "metadata"]
    assert body["result"] == {"output": "You said: Hi"}
    assert body["session_id"] == "abc123"
    assert set(body["metadata"]) == {"duration", "tokens_used"}
    assert body["metadata"]["tokens_used"] == 45
    assert 0 < body["metadata"]["duration"] < 10


def test_the_real_server_s_answer_has_the_text_in_both_places(admin: Caller, chatting: Deployed) -> None:
    body = admin.post(LANGFLOW_SERVER.at(chatting.id), {"input_value": "Hi", "session_id": "abc-1"}).json()
    assert set(body) == {"session_id", "outputs"}
    assert body["session_id"] == "abc-1"
    (outputs,) = body["outputs"]
    assert outputs["inputs"] == {"input_value": "Hi"}
    (result,) = outputs["outputs"]
    assert result["results"]["message"]["text"] == "You said: Hi"
    assert result["outputs"]["message"] == {"message": "You said: Hi", "type": "text"}


@both
def test_a_body_as_its_own_clients_send_it_is_taken(dialect: Dialect, admin: Caller, chatting: Deployed) -> None:
    body = {
        "input_value": "Hi",
        "input_type": "chat",
        "output_type": "chat",
        "output_component": "",
        "tweaks": None,
        "session_id": "",
    }
    answer = admin.post(dialect.at(chatting.id), body)
    assert dialect.finished(admin, answer) == "You said: Hi"
    assert answer.json()["session_id"].startswith("ses_")


@both
def test_input_value_is_the_field_of_that_name_else_the_first_string(dialect: Dialect, admin: Caller) -> None:
    count = {"name": "count", "type": "integer", "default": 1}
    named = [count, text("first", default="-"), text("input_value")]
    first = [count, text("question"), text("second", default="-")]
    for fields, place in ((named, "input_value"), (first, "question")):
        shown = output("{{ say.text }}")
        deployed = admin.deploy(flow([api_input(*fields), template("{{ in." + place + " }}"), shown]))
        assert dialect.finished(admin, admin.post(dialect.at(deployed.id), {"input_value": "Q"})) == "Q"


@both
def test_c17_a_session_is_remembered_and_a_new_one_is_made_without_its_id(
    dialect: Dialect, admin: Caller, chatting: Deployed
) -> None:
    def say(words: str, session_id: str | None) -> tuple[str, str]:
        answer = admin.post(dialect.at(chatting.id), {"input_value": words, "session_id": session_id})
        return dialect.finished(admin, answer), answer.json()["session_id"]

    _, alice = say("My name is Alice", None)
    _, bob = say("My name is Bob", None)
    assert alice != bob
    assert say("What is my name?", alice) == ("Your name is Alice.", alice)
    assert say("What is my name?", bob) == ("Your name is Bob.", bob)
    assert say("What is my name?", None)[0] == "You did not tell me."
    assert admin.call("DELETE", f"/v1/sessions/{alice}").ok
    assert say("What is my name?", alice)[0] == "You did not tell me."


@both
def test_a_session_id_that_is_none_is_400(dialect: Dialect, admin: Caller, chatting: Deployed) -> None:
    for wrong in ("a b", "x" * 129, 7):
        dialect.error(
            admin.post(dialect.at(chatting.id), {"input_value": "x", "session_id": wrong}), 400, "invalid_input"
        )


@both
@pytest.mark.parametrize("name", ["gpt-4o", "openai/gpt-4o"])
def test_c13_model_name_keeps_the_provider(
    dialect: Dialect, name: str, admin: Caller, chatting: Deployed, model: Model
) -> None:
    tweaks = {"OpenAI-xxxxx": {"model_name": name, "temperature": 0.2, "max_tokens": 9}}
    answer = admin.post(dialect.at(chatting.id), {"input_value": "Tweaked", "tweaks": tweaks})
    assert dialect.finished(admin, answer) == "You said: Tweaked"
    asked = model.asked[-1]
    assert (asked["model"], asked["temperature"], asked["max_tokens"]) == ("gpt-4o", 0.2, 9)
    run = admin.get(f"/v1/runs/{answer.headers['Headgate-Run-Id']}/events").json()["data"][0]
    assert run["data"]["tweaks"]["OpenAI-xxxxx"]["model"] == "openai/gpt-4o"


@both
def test_c13_a_model_name_with_a_slash_is_still_the_provider_s(
    dialect: Dialect, admin: Caller, chatting: Deployed, model: Model
) -> None:
    tweaks = {"OpenAI-xxxxx": {"model_name": "meta/llama"}}
    assert admin.post(dialect.at(chatting.id), {"input_value": "x", "tweaks": tweaks}).ok
    assert model.asked[-1]["model"] == "meta/llama"


@both
def test_c12_a_tweak_changes_one_run_and_not_the_flow(
    dialect: Dialect, admin: Caller, chatting: Deployed, model: Model
) -> None:
    tweaks = {"OpenAI-xxxxx": {"system": "Be brief."}}
    assert admin.post(dialect.at(chatting.id), {"input_value": "x", "tweaks": tweaks}).ok
    assert model.asked[-1]["messages"][0] == {"role": "system", "content": "Be brief."}
    assert admin.post(dialect.at(chatting.id), {"input_value": "x"}).ok
    assert [message["role"] for message in model.asked[-1]["messages"]] == ["user"]


@both
@pytest.mark.parametrize(
    ("tweaks", "place"),
    [
        ({"Nobody-1": {"k": 5}}, "/tweaks/Nobody-1"),
        ({"OpenAI-xxxxx": {"warmth": 1}}, "/tweaks/OpenAI-xxxxx/warmth"),
        ({"OpenAI-xxxxx": {"temperature": "hot"}}, "/tweaks/OpenAI-xxxxx/temperature"),
        ({"OpenAI-xxxxx": {"model_name": 4}}, "/tweaks/OpenAI-xxxxx/model"),
        ({"OpenAI-xxxxx": "gpt-4o"}, "/tweaks/OpenAI-xxxxx"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_tweak_that_does_not_fit_is_400(
    dialect: Dialect, tweaks: dict[str, Any], place: str, admin: Caller, chatting: Deployed
) -> None:
    answer = admin.post(dialect.at(chatting.id), {"input_value": "x", "tweaks": tweaks})
    assert place in dialect.error(answer, 400, "invalid_input")


@both
@pytest.mark.parametrize("asked", ["query", "body"])
def test_c36_a_stream_has_one_object_a_frame(dialect: Dialect, asked: str, admin: Caller, chatting: Deployed) -> None:
    path = dialect.at(chatting.id) + ("?stream=true" if asked == "query" else "")
    body = {"input_value": "Stream Zoë", "session_id": "of-a-stream", **({"stream": True} if asked == "body" else {})}
    events = streamed(admin.post(path, body))
    tokens = [event for event in events if event.type == "token"]
    assert [e.type for e in events] == ["add_message", *["token"] * len(tokens), "add_message", "end"]
    assert events[0].data["text"] == events[0].data["message"]["text"] == "Stream Zoë"
    assert "".join(token.data["chunk"] for token in tokens) == "You said: Stream Zoë"
    assert events[-2].data["text"] == events[-2].data["message"]["text"] == "You said: Stream Zoë"
    result = events[-1].data["result"]
    assert result["session_id"] == "of-a-stream"
    assert result["outputs"][0]["outputs"][0]["results"]["message"]["text"] == "You said: Stream Zoë"


def test_the_end_of_a_stream_is_the_answer_without_one(admin: Caller, chatting: Deployed) -> None:
    body = {"input_value": "Same", "session_id": "of-both"}
    end = streamed(admin.post(LANGFLOW_SERVER.at(chatting.id) + "?stream=true", body))[-1]
    assert end.type == "end"
    assert end.data["result"] == admin.post(LANGFLOW_SERVER.at(chatting.id), body).json()


def test_a_stream_of_a_flow_that_says_nothing_meanwhile(admin: Caller, repeater: Deployed) -> None:
    events = streamed(admin.post(LANGFLOW_SERVER.at(repeater.id), {"input_value": "hi", "stream": True}))
    assert [event.type for event in events] == ["add_message", "add_message", "end"]


def test_reasoning_is_no_part_of_what_is_said(admin: Caller, chatting: Deployed, model: Model) -> None:
    model.reasoning = ["Let me think."]
    try:
        events = streamed(admin.post(LANGFLOW_SERVER.at(chatting.id), {"input_value": "Hm", "stream": True}))
    finally:
        model.reasoning = []
    assert "".join(e.data["chunk"] for e in events if e.type == "token") == "You said: Hm"
    assert all("think" not in json.dumps(event.data) for event in events)


@both
def test_a_stream_of_a_run_that_fails_ends_with_its_error(dialect: Dialect, admin: Caller) -> None:
    events = streamed(admin.post(dialect.at(admin.deploy(failing()).id), {"input_value": "x", "stream": True}))
    assert [event.type for event in events] == ["add_message", "error"]
    assert events[-1].data["code"] == "node_failed"
    assert events[-1].data["error"]


@both
def test_a_stream_that_may_not_begin_is_an_error_and_no_stream(
    dialect: Dialect, admin: Caller, repeater: Deployed
) -> None:
    path = dialect.at(repeater.id)
    dialect.error(admin.post(f"{path}?stream=true", {"input_value": "x" * 201}), 400, "invalid_input")
    dialect.error(admin.post(f"{path}?stream=perhaps", {"input_value": "x"}), 400, "invalid_input")
    dialect.error(admin.having("").post(f"{path}?stream=true", {"input_value": "x"}), 401, "unauthorized")


@pytest.mark.parametrize("slash", ["", "/"])
def test_e19_a_webhook_takes_any_object_and_answers_before_the_run_ends(slash: str, admin: Caller) -> None:
    deployed = admin.deploy(flow([api_input(), template("{{ in.event }}"), output("{{ in }}")]))
    given = {"event": "push", "nested": {"list": [1, None]}}
    answer = admin.post(f"/api/v1/webhook/{deployed.slug}{slash}", given)
    receipt = answer.json()
    assert answer.status_code == 202
    assert (receipt["status"], receipt["run_id"]) == ("in progress", answer.headers["Headgate-Run-Id"])
    assert receipt["message"]
    assert admin.until(f"/v1/runs/{receipt['run_id']}", "completed")["output"] == given


def test_e19_a_webhook_that_is_no_object_or_has_no_key_is_refused(admin: Caller, repeater: Deployed) -> None:
    path = f"/api/v1/webhook/{repeater.id}"
    for data in (b"[1]", b'"text"', b"not json"):
        LANGFLOW.error(admin.post(path, data=data), 400, "invalid_input")
    LANGFLOW.error(admin.having("").post(path, {"text": "x"}), 401, "unauthorized")
    LANGFLOW.error(admin.post("/api/v1/webhook/nobody", {"text": "x"}), 404, "not_found")


def test_c5_tokens_are_those_of_every_model_of_the_run(admin: Caller) -> None:
    two = [api_input(text()), prompt("one", "{{ in.text }}"), prompt("two", "{{ one.text }}"), output("{{ two.text }}")]
    body = admin.post(LANGFLOW.at(admin.deploy(flow(two)).id), {"input_value": "x"}).json()
    assert body["metadata"]["tokens_used"] == 90
    assert body["result"]["output"] == "You said: You said: x"
