"""Every event of a run once and in order, over connections that break."""

from typing import Any

import pytest

from tests.clients.speakers import Speaker
from tests.clients.wire import Sent, Wire, frame, frames, head, problem, stream

START = "POST /v1/deployments/greeter/runs"
EVENTS = "GET /v1/runs/run_1/events"
KINDS = ["run.requested", "run.started", "node.started", "node.delta", "node.finished", "run.completed"]
PREAMBLE = b"retry: 2000\n\n"


def resumed(wire: Wire) -> list[str | None]:
    return [each.headers.get("last-event-id") for each in wire.to(EVENTS)]


def seqs(events: list[dict[str, Any]]) -> list[int]:
    return [event["seq"] for event in events]


async def test_a_stream_yields_every_event_to_the_last(speaker: Speaker, wire: Wire) -> None:
    all_frames = [PREAMBLE, *frames(KINDS[:3]), b": ping\n\n", *frames(KINDS[3:], 4)]
    wire.answer(START, stream(*all_frames, whole=True))
    told = await speaker.say(wire.url, "stream", "greeter", {"name": "Ada"})
    assert [event["type"] for event in told.result] == KINDS
    assert seqs(told.result) == [1, 2, 3, 4, 5, 6]
    assert told.result[0]["run_id"] == "run_1"
    [request] = wire.received
    assert request.body == {"input": {"name": "Ada"}, "mode": "stream"}
    assert request.headers["accept"] == "text/event-stream"


async def test_a_stream_cut_in_the_middle_of_a_frame_goes_on_after_the_last_whole_one(
    speaker: Speaker, wire: Wire
) -> None:
    one, two, three, four, five, six = frames(KINDS)
    wire.answer(START, stream(PREAMBLE, one, two, three[:40], reset=True))
    wire.answer(EVENTS, stream(PREAMBLE, three, four[:-1], reset=True), stream(four, five, six))
    told = await speaker.say(wire.url, "stream", "greeter", {})
    assert seqs(told.result) == [1, 2, 3, 4, 5, 6]
    assert resumed(wire) == ["2", "3"]
    assert len(wire.to(START)) == 1


async def test_a_server_that_ends_its_streams_to_stop_is_asked_again(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, stream(*frames(KINDS[:2]), whole=True))
    wire.answer(EVENTS, problem(503, "unavailable", "Stopping."), stream(*frames(KINDS[2:], 3), whole=True))
    told = await speaker.say(wire.url, "stream", "greeter", {})
    assert seqs(told.result) == [1, 2, 3, 4, 5, 6]
    assert resumed(wire) == ["2", "2"]


async def test_the_run_is_known_by_its_header_before_its_first_event(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, stream(PREAMBLE, reset=True))
    wire.answer(EVENTS, stream(*frames(KINDS), whole=True))
    told = await speaker.say(wire.url, "stream", "greeter", {})
    assert seqs(told.result) == [1, 2, 3, 4, 5, 6]
    assert resumed(wire) == [None]
    assert len(wire.to(START)) == 1


async def test_the_run_is_known_by_its_first_event_where_a_proxy_drops_the_header(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, stream(*frames(KINDS[:1]), run_id=None, reset=True))
    wire.answer(EVENTS, stream(*frames(KINDS[1:], 2), run_id=None, whole=True))
    told = await speaker.say(wire.url, "stream", "greeter", {})
    assert seqs(told.result) == [1, 2, 3, 4, 5, 6]
    assert resumed(wire) == ["1"]


async def test_a_start_that_told_nothing_is_repeated_as_the_same_request(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, stream(run_id=None, reset=True), stream(*frames(KINDS), whole=True))
    told = await speaker.say(wire.url, "stream", "greeter", {})
    assert seqs(told.result) == [1, 2, 3, 4, 5, 6]
    assert len(wire.to(START)) == 2
    assert len({each.headers["idempotency-key"] for each in wire.to(START)}) == 1


async def test_events_sent_twice_are_given_once(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, stream(*frames(KINDS[:3]), reset=True))
    wire.answer(EVENTS, stream(*frames(KINDS), whole=True))
    told = await speaker.say(wire.url, "stream", "greeter", {})
    assert seqs(told.result) == [1, 2, 3, 4, 5, 6]


async def test_nothing_left_ends_the_stream(speaker: Speaker, wire: Wire) -> None:
    wire.answer(EVENTS, Sent(pieces=(head(204, {"Headgate-Run-Id": "run_1"}),)))
    told = await speaker.say(wire.url, "events", "run_1", after=6)
    assert told.result == []
    assert resumed(wire) == ["6"]


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
async def test_a_text_cut_anywhere_is_whole_again(speaker: Speaker, wire: Wire, ends: bytes) -> None:
    said = "Grüße, 世界 🌍"
    two_lines = frame(1, "node.delta", {"text": said}).replace(b', "seq"', b',\ndata: "seq"')
    whole = (two_lines + frame(2, "run.completed") + b"\n").replace(b"\n", ends)
    wire.answer(EVENTS, stream(*(bytes([byte]) for byte in whole), whole=True))
    told = await speaker.say(wire.url, "events", "run_1")
    assert told.result[0]["data"] == {"text": said}
    assert len(told.result) == 2


async def test_a_refused_start_is_not_tried_again(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, problem(404, "deployment_inactive", "Not active."))
    told = await speaker.say(wire.url, "stream", "greeter", {})
    assert told.error is not None
    assert (told.error["status"], told.error["code"]) == (404, "deployment_inactive")
    assert len(wire.received) == 1


async def test_a_stream_that_stays_broken_is_given_up(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, stream(*frames(KINDS[:2]), reset=True))
    wire.answer(EVENTS, stream(PREAMBLE, reset=True))
    told = await speaker.say(wire.url, "stream", "greeter", {}, retry={"max_attempts": 3})
    assert told.error is not None
    assert told.error["name"] == "ConnectionFailed"
    assert len(wire.to(EVENTS)) == 2


async def test_an_answer_that_is_no_stream_is_said_to_be_none(speaker: Speaker, wire: Wire) -> None:
    wire.answer(START, Sent(pieces=(head(200, {"Content-Type": "text/html", "Content-Length": "2"}) + b"hi",)))
    told = await speaker.say(wire.url, "stream", "greeter", {})
    assert told.error is not None
    assert told.error["code"] == "unexpected_answer"
