"""Event streams: cut anywhere and resumed anywhere, each event arrives once."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from libs.events.broker import Msg
from tests.e2e.broker import broker_of
from tests.e2e.caller import ENDS, Caller, calling, until
from tests.e2e.flows import chain, http, output, prompt, template
from tests.e2e.model import Model, model
from tests.e2e.target import Target
from tests.e2e.wire import wire
from tests.stack import Stack

WORDS = [f"Straße {n} – 東京 🚏 " for n in range(24)]
READERS = 72


@asynccontextmanager
async def _speaking(caller: Caller, port: int, pause_seconds: float = 0.04) -> AsyncIterator[tuple[Model, str]]:
    """A model that speaks for about a second, and a run that listens to it."""
    deployment = await caller.deploy(chain(prompt("llm", "openai/gpt-4o"), output("{{ llm.text }}")))
    async with model(port, WORDS, pause_seconds=pause_seconds) as speaker:
        yield speaker, await caller.submit(deployment)


def _places(stack: Stack, run_id: str) -> list[str]:
    """Everywhere the run's events are served."""
    hosts = [*stack.urls, stack.process("notifier")["url"]]
    return [f"{host}/v1/runs/{run_id}/events" for host in hosts]


async def _read_with_cuts(urls: list[str], headers: dict[str, str], lengths: list[int]) -> list[dict[str, Any]]:
    """What a client gets whose connections break after so many bytes each, the last one not; each at the next place."""
    events: list[dict[str, Any]] = []
    for place, length in enumerate([*lengths, None]):
        after = str(events[-1]["seq"]) if events else ""
        async with wire(urls[place % len(urls)], headers, after=after) as stream:
            if length is None:
                await stream.read_all()
                assert stream.status in (200, 204)
            else:
                await stream.read_bytes(length)
                stream.cut()
            ids = [frame.id for frame in stream.frames if frame.event]
            assert ids == [str(event["seq"]) for event in stream.events]
            events += stream.events
    return events


async def test_a_client_that_is_cut_off_at_any_byte_sees_each_event_once(caller: Caller, model_port: int) -> None:
    async with _speaking(caller, model_port) as (_, run_id):
        urls = _places(caller.stack, run_id)
        # Strides without a common divisor meet the head, frames, characters and the coding of chunks; once or twice.
        cuts = [[1 + 11 * n, 431 + 7 * n] if n % 2 else [300 + 97 * n] for n in range(READERS)]
        readers = [
            _read_with_cuts(urls[n % 3 :] + urls[: n % 3], caller.stack.headers, lengths)
            for n, lengths in enumerate(cuts)
        ]
        seen = await asyncio.gather(*readers)
    events = await caller.events(run_id)
    assert "".join(e["data"]["text"] for e in events if e["type"] == "node.delta") == "".join(WORDS)
    assert events[-1]["type"] == "run.completed"
    assert all(each == events for each in seen)


async def test_a_stream_begins_with_what_its_call_stored(caller: Caller) -> None:
    """It is in the gateway's hands: reading it back from the log would keep the first words waiting."""
    deployment = await caller.deploy(chain(prompt("llm", "echo/echo"), output("{{ llm.text }}")))
    read: list[str] = []

    async def see(message: Msg) -> None:
        read.append(message.subject)

    async with broker_of(caller.stack) as broker:
        await broker.subscribe("$JS.API.DIRECT.GET.*.evt.*.*.*.requested", see)
        await broker.client.flush()
        url = f"{caller.stack.url}/v1/deployments/{deployment}/runs"
        async with caller.session.post(url, json={"input": {"text": "x"}, "mode": "stream"}) as response:
            run_id, text = response.headers["Headgate-Run-Id"], await response.text()
        await broker.client.flush()
        own = [subject for subject in read if run_id in subject]
        assert await caller.events(run_id) == [
            json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")
        ]
        assert own == []
        await until(lambda: _was_read(read, run_id))  # a reading is seen here: `events` was one


async def _was_read(read: list[str], run_id: str) -> bool:
    return any(run_id in subject for subject in read)


async def test_a_finished_run_can_be_read_from_any_byte_on(caller: Caller, model_port: int) -> None:
    async with _speaking(caller, model_port, pause_seconds=0) as (_, run_id):
        await caller.ended(run_id)
    events = await caller.events(run_id)
    urls = _places(caller.stack, run_id)
    async with wire(urls[0], caller.stack.headers) as whole:
        await whole.read_all()
        length = len(whole.raw)
    first = whole.raw.index("東".encode())
    inside_characters = [first + 1, first + 2, whole.raw.index("🚏".encode()) + 2]
    cuts = [*inside_characters, *range(1, length, length // 60)]
    for batch in (cuts[::2], cuts[1::2]):
        readers = [_read_with_cuts(urls[n % 3 :], caller.stack.headers, [cut]) for n, cut in enumerate(batch)]
        assert all(each == events for each in await asyncio.gather(*readers))


async def test_nothing_is_left_after_the_last_event(caller: Caller, web: Target) -> None:
    answer = await caller.start(await caller.deploy(chain(template("a", "x"), output("{{ a.text }}"))))
    last = (await caller.events(answer.run_id))[-1]["seq"]
    for url in _places(caller.stack, answer.run_id):
        for after, status in ((last, 204), (last + 1, 204), (last - 1, 200)):
            async with wire(url, caller.stack.headers, after=str(after)) as stream:
                await stream.read_all()
                assert stream.status == status
                assert [event["seq"] for event in stream.events] == ([last] if status == 200 else [])
                assert stream.headers["headgate-run-id"] == answer.run_id


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "9" * 19, "٣"])
async def test_an_id_that_is_none_is_refused(caller: Caller, after: str) -> None:
    answer = await caller.start(await caller.deploy(chain(template("a", "x"), output("{{ a.text }}"))))
    headers = {"Accept": "text/event-stream", "Last-Event-ID": after}
    refused = await caller.call("GET", f"/v1/runs/{answer.run_id}/events", headers=headers)
    assert (refused.status, refused.body["code"]) == (400, "invalid_input")


async def test_a_stream_says_how_it_is_to_be_treated_and_begins_with_when_to_come_back(caller: Caller) -> None:
    answer = await caller.start(await caller.deploy(chain(template("a", "x"), output("{{ a.text }}"))))
    for url in _places(caller.stack, answer.run_id):
        async with wire(url, caller.stack.headers) as stream:
            await stream.read_all()
        assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert stream.headers["cache-control"] == "no-cache, no-transform"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["headgate-run-id"] == answer.run_id
        assert "content-encoding" not in stream.headers
        assert stream.frames[0].retry.isdigit()
        assert [(frame.id, frame.event) for frame in stream.frames[1:]] == [
            (str(event["seq"]), event["type"]) for event in await caller.events(answer.run_id)
        ]


async def test_a_silent_stream_says_every_now_and_then_that_it_lives(caller: Caller, web: Target) -> None:
    web.hold("/a")
    run_id = await caller.submit(await caller.deploy(chain(http("a", web.url("/a")), output("{{ a.status }}"))))
    await web.received("/a")
    loop = asyncio.get_running_loop()

    async def seconds_until_a_comment(url: str) -> float:
        async with wire(url, caller.stack.headers) as stream:
            await stream.read_until("node.started")
            began = loop.time()
            while not any(frame.comment for frame in stream.frames):
                await stream.read_bytes(len(stream.raw) + 1)
            return loop.time() - began

    waits = await asyncio.gather(*[seconds_until_a_comment(url) for url in _places(caller.stack, run_id)])
    assert all(1 < seconds < 15 for seconds in waits)
    web.release("/a")
    assert (await caller.ended(run_id))["status"] == "completed"


async def test_a_client_that_goes_away_stops_nothing(caller: Caller, model_port: int) -> None:
    deployment = await caller.deploy(chain(prompt("llm", "openai/gpt-4o"), output("{{ llm.text }}")), mode="stream")
    async with model(model_port, WORDS) as speaker:
        speaker.released.clear()
        async with caller.session.post(f"{caller.stack.url}/v1/deployments/{deployment}/runs", json={}) as stream:
            run_id = stream.headers["Headgate-Run-Id"]
            await stream.content.readuntil(b"event: node.delta")
            stream.close()
        speaker.released.set()
        assert (await caller.ended(run_id))["output"] == "".join(WORDS)


async def test_deltas_are_sent_while_the_model_speaks(caller: Caller, model_port: int) -> None:
    deployment = await caller.deploy(chain(prompt("llm", "openai/gpt-4o"), output("{{ llm.text }}")))
    async with model(model_port, WORDS) as speaker:
        speaker.released.clear()
        run_id = await caller.submit(deployment)
        for url in _places(caller.stack, run_id):
            async with wire(url, caller.stack.headers) as stream:
                while "".join(e["data"].get("text", "") for e in stream.events) != "".join(WORDS[:-1]):
                    await stream.read_bytes(len(stream.raw) + 1)
        speaker.released.set()
        await caller.ended(run_id)


async def test_a_stream_begins_with_the_request_while_nobody_has_taken_the_run(fragile: Stack) -> None:
    async with calling(fragile) as caller:
        deployment = await caller.deploy(chain(template("a", "{{ in.text }}"), output("{{ a.text }}")))
        for executor in range(3):
            fragile.kill("executor", executor, signal.SIGSTOP)
        try:
            run_id = await caller.submit(deployment)
            async with wire(_places(fragile, run_id)[1], fragile.headers) as stream:
                await stream.read_until("run.requested")
                queued = await caller.run(run_id)
                first = [event["type"] for event in stream.events]
                for executor in range(3):
                    fragile.kill("executor", executor, signal.SIGCONT)
                await stream.read_all()
        finally:
            for executor in range(3):
                fragile.kill("executor", executor, signal.SIGCONT)
        assert queued["status"] == "queued"
        assert first == ["run.requested"]
        assert stream.events == await caller.events(run_id)
        assert stream.events[-1]["type"] in ENDS
