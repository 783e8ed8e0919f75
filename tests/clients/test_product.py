"""The clients against Headgate itself."""

import asyncio

import pytest

from libs.runtime.ids import new_id
from tests.clients.product import INPUT, OUTPUT, deploy
from tests.clients.speakers import Speaker
from tests.clients.wire import Sent, Wire
from tests.stack import Stack


@pytest.fixture
def asks(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server's address; the clients have the admin's key."""
    monkeypatch.setattr("tests.clients.speakers.KEY", stack.admin_key)
    return stack.url


async def test_a_run_is_its_output(speaker: Speaker, asks: str) -> None:
    told = await speaker.say(asks, "run", "greeter", {"name": "Ada"}, check=True)
    assert told.result["output"] == "Hello, Ada!"
    assert told.result["usage"]["output_tokens"] > 0


async def test_a_submitted_run_is_waited_for(speaker: Speaker, asks: str) -> None:
    submitted = await speaker.say(asks, "submit", "greeter", {"name": "Bob"}, metadata={"order": 7})
    assert submitted.result["status"] == "queued"
    told = await speaker.say(asks, "wait", submitted.result["id"], timeout=20)
    assert (told.result["status"], told.result["output"]) == ("completed", "Hello, Bob!")
    assert told.result["metadata"] == {"order": 7}


async def test_one_key_is_one_run(speaker: Speaker, asks: str) -> None:
    key = new_id("key")
    first = await speaker.say(asks, "run", "greeter", {"name": "Ada"}, idempotency_key=key)
    second = await speaker.say(asks, "run", "greeter", {"name": "Ada"}, idempotency_key=key)
    assert first.result["id"] == second.result["id"]
    told = await speaker.say(asks, "run", "greeter", {"name": "Bob"}, idempotency_key=key)
    assert told.error is not None
    assert (told.error["status"], told.error["code"]) == (422, "idempotency_conflict")


async def test_a_stream_is_the_whole_log_and_may_be_read_again_from_anywhere(speaker: Speaker, asks: str) -> None:
    told = await speaker.say(asks, "stream", "greeter", {"name": "Ada"})
    types = [event["type"] for event in told.result]
    assert (types[0], types[-1]) == ("run.requested", "run.completed")
    assert [event["seq"] for event in told.result] == list(range(1, len(types) + 1))
    assert "".join(e["data"]["text"] for e in told.result if e["type"] == "node.delta") == "Hello, Ada!"
    run_id = told.result[0]["run_id"]
    again = await speaker.say(asks, "events", run_id, after=3)
    assert [event["raw"] for event in again.result] == [event["raw"] for event in told.result[3:]]
    assert (await speaker.say(asks, "events", run_id, after=len(types))).result == []


async def test_a_flow_is_run_as_langflow_clients_run_it(speaker: Speaker, asks: str) -> None:
    told = await speaker.say(asks, "run_flow", flow_id="greeter", input_value="Ada", session_id="clients")
    assert told.error is None, told.error
    assert told.result["output"] == "Hello, Ada!"
    assert told.result["session_id"] == "clients"


async def test_a_batch_is_waited_for_as_a_whole(speaker: Speaker, asks: str) -> None:
    made = await speaker.say(asks, "batch", "greeter", [{"name": "Ada"}, {"name": "Bob"}])
    assert made.error is None, made.error
    told = await speaker.say(asks, "wait_batch", made.result["id"], timeout=20)
    assert [run["status"] for run in told.result["runs"]] == ["completed", "completed"]


async def test_bad_input_names_its_faults(speaker: Speaker, asks: str) -> None:
    told = await speaker.say(asks, "run", "greeter", {})
    assert told.error is not None
    assert (told.error["status"], told.error["code"]) == (400, "invalid_input")
    assert [fault["pointer"] for fault in told.error["errors"]] == ["/input/name"]
    assert told.error["request_id"]


async def test_a_run_is_not_waited_for_longer_than_asked_and_then_cancelled(
    speaker: Speaker, asks: str, stack: Stack, wire: Wire
) -> None:
    wire.answer("GET /slow", Sent(held=True))
    slow = {"id": "slow", "type": "http_request", "config": {"method": "GET", "url": f"{wire.url}/slow"}}
    slug = new_id("slow").replace("_", "-").lower()
    await asyncio.to_thread(deploy, stack, slug, [INPUT, slow, OUTPUT])
    told = await speaker.say(asks, "run", slug, {"name": "Ada"}, timeout=1)
    assert told.error is not None
    assert told.error["name"] == "WaitTimeout"
    cancelled = await speaker.say(asks, "cancel", told.error["run_id"])
    assert cancelled.result["status"] == "cancelled"
    waited = await speaker.say(asks, "wait", told.error["run_id"], check=True)
    assert waited.error is not None
    assert waited.error["name"] == "RunFailed"
