"""What is tried again, what is not, and that a run is started once however often it is asked for."""

from cli.ports import random_port
from tests.clients.speakers import KEY, Speaker
from tests.clients.wire import Sent, Wire, answer, head, problem, run

START = "POST /v1/deployments/greeter/runs"
BUSY = problem(503, "unavailable", "Try again shortly.")


async def test_an_unavailable_server_is_asked_again_with_the_same_key_and_body(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, BUSY, problem(502, "", ""), answer(200, run()))
    told = await speaker.say(wire.url, "run", "greeter", {"name": "Ada"}, session_id="s1", metadata={"a": 1})
    assert told.result["output"] == "Hello"
    first, *others = wire.to(START)
    expected = {"input": {"name": "Ada"}, "mode": "sync", "session_id": "s1", "metadata": {"a": 1}}
    assert first.body == expected
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert 1 <= len(first.headers["idempotency-key"]) <= 255
    assert [(each.body, each.headers["idempotency-key"]) for each in others] == [
        (expected, first.headers["idempotency-key"])
    ] * 2


async def test_two_runs_have_two_keys_unless_one_is_given(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, answer(202, run("queued")))
    await speaker.say(wire.url, "submit", "greeter", {})
    await speaker.say(wire.url, "submit", "greeter", {})
    await speaker.say(wire.url, "submit", "greeter", {}, idempotency_key="mine")
    first, second, third = [each.headers["idempotency-key"] for each in wire.to(START)]
    assert first != second
    assert third == "mine"


async def test_a_connection_that_breaks_before_or_in_an_answer_is_made_again(speaker: Speaker, wire: Wire) -> None:
    cut = Sent(pieces=(head(200, {"Content-Length": "1000"}) + b'{"id": ',))
    wire.answer(START, Sent(reset=True), Sent(), cut, answer(200, run()))
    told = await speaker.say(wire.url, "run", "greeter", {})
    assert told.result["status"] == "completed"
    assert len({each.headers["idempotency-key"] for each in wire.to(START)}) == 1


async def test_retry_after_is_waited_for(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, problem(429, "rate_limit", "Slower.", headers={"Retry_After": "1"}), answer(200, run()))
    told = await speaker.say(wire.url, "run", "greeter", {})
    assert told.result["status"] == "completed"
    first, second = wire.to(START)
    assert 0.99 <= second.at - first.at < 3


async def test_a_wait_longer_than_the_policy_allows_is_not_begun(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, problem(429, "quota_exceeded", "Next month.", headers={"Retry_After": "86400"}))
    told = await speaker.say(wire.url, "run", "greeter", {})
    assert told.error is not None
    assert (told.error["code"], told.error["retry_after"]) == ("quota_exceeded", 86400)
    assert len(wire.to(START)) == 1


async def test_bad_input_is_told_once_with_every_fault(speaker: Speaker, wire: Wire) -> None:
    faults = [{"pointer": "/input/name", "detail": "is missing"}]
    wire.answer(START, problem(400, "invalid_input", "It does not fit.", errors=faults), answer(200, run()))
    told = await speaker.say(wire.url, "run", "greeter", {})
    assert told.error == {
        "name": "HeadgateError",
        "status": 400,
        "code": "invalid_input",
        "detail": "It does not fit.",
        "errors": faults,
        "request_id": "req_1",
        "run_id": "",
        "retry_after": None,
    }
    assert len(wire.to(START)) == 1


async def test_the_last_error_is_told_when_the_attempts_are_used_up(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, BUSY, BUSY, problem(504, "unavailable", "The last."))
    told = await speaker.say(wire.url, "run", "greeter", {}, retry={"max_attempts": 3})
    assert told.error is not None
    assert (told.error["status"], told.error["detail"]) == (504, "The last.")
    assert len(wire.to(START)) == 3


async def test_a_server_that_is_not_there_is_a_failed_connection(speaker: Speaker) -> None:
    told = await speaker.say(f"http://127.0.0.1:{random_port()}", "get_run", "run_1", retry={"max_attempts": 2})
    assert told.error is not None
    assert (told.error["name"], told.error["status"]) == ("ConnectionFailed", 0)
    assert told.error["code"] == "connection_failed"


async def test_a_redirect_is_not_followed_with_the_key(speaker: Speaker, wire: Wire) -> None:
    wire.answer("GET /v1/runs/run_1", answer(307, {}, Location=f"{wire.url}/elsewhere"))
    told = await speaker.say(wire.url, "get_run", "run_1")
    assert told.error is not None
    assert told.error["status"] == 307
    assert [each.path for each in wire.received] == ["/v1/runs/run_1"]


async def test_a_page_that_is_no_answer_of_headgate_is_said_to_be_none(speaker: Speaker, wire: Wire) -> None:
    page = b"<html>It works!</html>"
    wire.answer("GET /v1/runs/run_1", Sent(pieces=(head(200, {"Content-Length": str(len(page))}) + page,)))
    wire.answer("GET /v1/runs/run_2", answer(200, {"hello": "world"}))
    for run_id in ("run_1", "run_2"):
        told = await speaker.say(wire.url, "get_run", run_id)
        assert told.error is not None
        assert told.error["code"] == "unexpected_answer"


async def test_a_proxys_page_leaves_its_status(speaker: Speaker, wire: Wire) -> None:
    page = b"<html>Bad gateway</html>"
    wire.answer("GET /v1/runs/run_1", Sent(pieces=(head(502, {"Content-Length": str(len(page))}) + page,)))
    told = await speaker.say(wire.url, "get_run", "run_1", retry={"max_attempts": 2})
    assert told.error is not None
    assert (told.error["status"], told.error["detail"]) == (502, "HTTP 502")
    assert len(wire.received) == 2


async def test_a_server_below_a_path_is_called_there(speaker: Speaker, wire: Wire) -> None:
    wire.answer("GET /some/path/v1/runs/run_1", answer(200, run()))
    told = await speaker.say(f"{wire.url}/some/path/", "get_run", "run_1")
    assert told.result["status"] == "completed"


async def test_an_id_never_leaves_its_place_in_the_path(speaker: Speaker, wire: Wire) -> None:
    told = await speaker.say(wire.url, "get_run", "../keys?x=1 \r\nX: y")
    assert told.error is not None
    assert [each.path for each in wire.received] == ["/v1/runs/..%2Fkeys%3Fx%3D1%20%0D%0AX%3A%20y"]
