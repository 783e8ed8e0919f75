"""Starting, waiting, cancelling; batches; Langflow's call."""

import asyncio
from typing import Any

from tests.clients.speakers import Speaker
from tests.clients.wire import Sent, Wire, answer, frames, problem, run, stream

START = "POST /v1/deployments/greeter/runs"
RUN = "GET /v1/runs/run_1"
EVENTS = "GET /v1/runs/run_1/events"
CANCEL = "POST /v1/runs/run_1/cancel"
FLOW = "POST /langflow/api/v1/flows/greeter/run"
FAULT = {"node": "llm", "code": "node_timeout", "message": "It took too long."}
WHOLE = stream(*frames(["run.requested", "run.completed"]), whole=True)


async def test_a_result_has_output_usage_and_the_servers_own_words(speaker: Speaker, wire: Wire) -> None:
    body = run(output={"a": [1, None]}, session_id="s", metadata={"order_id": 7})
    wire.answer(START, answer(200, body))
    told = await speaker.say(wire.url, "run", "greeter")
    assert wire.received[0].body == {"input": {}, "mode": "sync"}
    assert told.result == {
        "id": "run_1",
        "status": "completed",
        "output": {"a": [1, None]},
        "error": None,
        "usage": {"input_tokens": 3, "output_tokens": 4, "cost_usd": 0.5},
        "session_id": "s",
        "metadata": {"order_id": 7},
        "raw": body,
    }


async def test_a_run_longer_than_the_server_waits_is_followed_to_its_end(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, answer(202, run("running", None), Headgate_Run_Id="run_1"))
    wire.answer(EVENTS, stream(*frames(["run.requested"]), reset=True), WHOLE)
    wire.answer(RUN, answer(200, run()))
    told = await speaker.say(wire.url, "run", "greeter", {})
    assert (told.result["status"], told.result["output"]) == ("completed", "Hello")
    assert [each.headers.get("last-event-id") for each in wire.to(EVENTS)] == [None, "1"]


async def test_a_failed_run_is_a_result_and_an_error_only_when_asked(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, answer(200, run("failed", None, error=FAULT)))
    told = await speaker.say(wire.url, "run", "greeter", {})
    assert told.result["status"] == "failed"
    assert told.result["error"] == FAULT
    told = await speaker.say(wire.url, "run", "greeter", {}, check=True)
    assert told.error is not None
    assert (told.error["name"], told.error["code"]) == ("RunFailed", "node_timeout")
    assert told.error["run_id"] == "run_1"
    assert "It took too long." in told.error["detail"]


async def test_a_run_with_a_time_limit_is_submitted_so_that_its_id_is_known(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, answer(202, run("queued", None)))
    wire.answer(EVENTS, stream(*frames(["run.requested"]), held=True))
    told = await asyncio.wait_for(speaker.say(wire.url, "run", "greeter", {}, timeout=0.5), 10)
    assert wire.received[0].body["mode"] == "async"
    assert told.error is not None
    assert (told.error["name"], told.error["code"]) == ("WaitTimeout", "wait_timeout")
    assert told.error["run_id"] == "run_1"


async def test_a_run_that_has_ended_is_waited_for_with_one_call(speaker: Speaker, wire: Wire) -> None:
    wire.answer(RUN, answer(200, run("cancelled", None)))
    told = await speaker.say(wire.url, "wait", "run_1", timeout=5)
    assert told.result["status"] == "cancelled"
    assert len(wire.received) == 1


async def test_waiting_ends_in_time_though_the_server_is_silent(speaker: Speaker, wire: Wire) -> None:
    wire.answer(RUN, Sent(held=True))
    told = await asyncio.wait_for(speaker.say(wire.url, "wait", "run_1", timeout=0.5), 10)
    assert told.error is not None
    assert told.error["name"] == "WaitTimeout"


async def test_a_cancel_whose_answer_was_lost_has_cancelled(speaker: Speaker, wire: Wire) -> None:
    wire.answer(CANCEL, Sent(reset=True), problem(409, "conflict", "The run has already ended."))
    wire.answer(RUN, answer(200, run("cancelled", None)))
    told = await speaker.say(wire.url, "cancel", "run_1")
    assert told.result["status"] == "cancelled"


async def test_a_run_that_ended_otherwise_cannot_be_cancelled(speaker: Speaker, wire: Wire) -> None:
    wire.answer(CANCEL, problem(409, "conflict", "The run has already ended."))
    wire.answer(RUN, answer(200, run()))
    told = await speaker.say(wire.url, "cancel", "run_1")
    assert told.error is not None
    assert (told.error["status"], told.error["code"]) == (409, "conflict")


async def test_a_batch_is_started_once_and_waited_for(speaker: Speaker, wire: Wire) -> None:
    start, read = "POST /v1/deployments/greeter/batch", "GET /v1/batches/batch_1"

    def batch(*statuses: str) -> dict[str, Any]:
        return {
            "batch_id": "batch_1",
            "runs": [{"id": f"run_{at}", "status": each} for at, each in enumerate(statuses)],
        }

    busy = problem(503, "unavailable", "Try again.")
    wire.answer(start, busy, answer(202, batch("queued", "queued")))
    wire.answer(read, answer(200, batch("completed", "running")), answer(200, batch("completed", "failed")))
    told = await speaker.say(wire.url, "batch", "greeter", [{"name": "Ada"}, {"name": "Bob"}])
    assert told.result["id"] == "batch_1"
    first, second = wire.to(start)
    assert first.body == {"inputs": [{"name": "Ada"}, {"name": "Bob"}]}
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    told = await speaker.say(wire.url, "wait_batch", "batch_1", timeout=10)
    assert [each["status"] for each in told.result["runs"]] == ["completed", "failed"]
    assert len(wire.to(read)) == 2


async def test_a_batch_that_takes_too_long_is_told_so(speaker: Speaker, wire: Wire) -> None:
    wire.answer("GET /v1/batches/batch_1", answer(200, {"batch_id": "batch_1", "runs": [run("running", None)]}))
    told = await speaker.say(wire.url, "wait_batch", "batch_1", timeout=0.3)
    assert told.error is not None
    assert told.error["name"] == "WaitTimeout"


async def test_langflows_call_sends_and_reads_langflows_words(speaker: Speaker, wire: Wire) -> None:
    body = {"result": {"output": "fine"}, "session_id": "abc123", "metadata": {"duration": 1.23, "tokens_used": 45}}
    wire.answer(FLOW, problem(503, "unavailable", "Try again."), answer(200, body))
    tweaks = {"OpenAI-xxxxx": {"model_name": "gpt-4o"}}
    asked: dict[str, Any] = {"flow_id": "greeter", "input_value": "Hello!", "tweaks": tweaks, "session_id": "abc123"}
    told = await speaker.say(wire.url, "run_flow", **asked)
    assert told.result == {
        "output": "fine",
        "session_id": "abc123",
        "metadata": {"duration": 1.23, "tokens_used": 45},
        "raw": body,
    }
    first, second = wire.to(FLOW)
    assert first.body == {"input_value": "Hello!", "tweaks": tweaks, "session_id": "abc123"}
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


async def test_a_run_that_failed_in_langflows_call_is_not_tried_again(speaker: Speaker, wire: Wire) -> None:
    wire.answer(FLOW, answer(500, {"detail": "llm: It took too long."}, Headgate_Run_Id="run_1"))
    told = await speaker.say(wire.url, "run_flow", flow_id="greeter", input_value="Hello!")
    assert told.error is not None
    assert (told.error["name"], told.error["run_id"]) == ("RunFailed", "run_1")
    assert told.error["detail"] == "llm: It took too long."
    assert len(wire.received) == 1


async def test_langflows_call_outlives_a_synchronous_wait(speaker: Speaker, wire: Wire) -> None:
    wire.answer(FLOW, answer(202, {}, Headgate_Run_Id="run_1"))
    wire.answer(EVENTS, WHOLE)
    wire.answer(RUN, answer(200, run(session_id="s", duration_seconds=301.5)))
    told = await speaker.say(wire.url, "run_flow", flow_id="greeter", input_value="Hello!")
    assert (told.result["output"], told.result["session_id"]) == ("Hello", "s")
    assert told.result["metadata"] == {"duration": 301.5, "tokens_used": 7}
