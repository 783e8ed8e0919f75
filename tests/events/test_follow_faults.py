"""Following through faults: nothing is missed, nothing comes twice, and it goes on by itself."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from cli.servers import NatsServer
from libs.events.broker import Broker, connect
from libs.events.follow import follow
from libs.events.log import EventLog
from libs.events.subjects import Kind, RunKey
from libs.events.topology import api, converge, event_stream
from tests.events.runs import completed, extend_run, requested, said, seqs
from tests.events.waiting import start_again, until_connected, until_true
from tests.faults.proxy import proxy_to


def ignore() -> None:
    """These servers are meant to be lost."""


def mute_stream() -> dict[str, Any]:
    """The stream of a log with one, which says nothing on core NATS of what it stores."""
    config = event_stream(0, replicas=1, count=1)
    del config["republish"]
    return config


@pytest.fixture
async def frail_broker(fresh_nats: NatsServer) -> AsyncIterator[Broker]:
    async with connect(fresh_nats.url, "test", ignore) as broker:
        yield broker


async def test_a_connection_that_breaks_while_the_run_goes_on(
    nats_server: NatsServer, log: EventLog, run: RunKey
) -> None:
    words = 300
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    async with (
        asyncio.timeout(20),
        proxy_to(nats_server.port) as proxy,
        connect(proxy.url, "far", ignore) as far,
        aclosing(follow(EventLog(far, log.shards), run)) as events,
    ):
        writing = asyncio.create_task(extend_run(log, run, first, words))
        seen = []
        async for event in events:
            seen.append(event.seq)
            if event.seq in (50, 150, 250):
                proxy.drop()
        await writing

    assert seen == list(range(1, words + 3))


async def test_what_was_appended_while_the_connection_was_down_comes_at_once_when_it_is_back(
    nats_server: NatsServer, log: EventLog, run: RunKey
) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    async with (
        proxy_to(nats_server.port) as proxy,
        connect(proxy.url, "far", ignore) as far,
        aclosing(follow(EventLog(far, log.shards), run)) as events,
    ):
        assert (await anext(events)).seq == 1
        await proxy.refuse()
        await until_connected(far, False)
        await extend_run(log, run, first, words=3)
        await proxy.accept()
        async with asyncio.timeout(2):
            assert [event.seq async for event in events] == [2, 3, 4, 5]


async def test_a_message_that_is_lost_on_the_way_is_read_from_the_log(
    nats_server: NatsServer, log: EventLog, run: RunKey
) -> None:
    """The connection stands, so nothing tells of it but the gap in the count."""
    after = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    async with (
        asyncio.timeout(5),
        proxy_to(nats_server.port) as proxy,
        connect(proxy.url, "far", ignore) as far,
        aclosing(follow(EventLog(far, log.shards), run)) as events,
    ):
        assert (await anext(events)).seq == 1
        after = await log.append(run, Kind.PROGRESS, said(run, 2), after=after)
        assert (await anext(events)).seq == 2
        proxy.lose_answers()
        after = await log.append(run, Kind.PROGRESS, said(run, 3, 4), after=after)
        await until_true(lambda: proxy.lost_bytes > 0)
        proxy.resume()
        await log.append(run, Kind.ENDED, completed(run, 5), after=after)
        assert [event.seq async for event in events] == [3, 4, 5]


async def test_silence_is_told_in_time_while_the_log_does_not_answer(
    nats_server: NatsServer, log: EventLog, run: RunKey
) -> None:
    """The connection stands and nothing comes back: a reader must not take its own for dead."""
    await log.append(run, Kind.REQUESTED, requested(run), after=0)
    loop = asyncio.get_running_loop()
    told: list[float] = []

    async def on_silence() -> None:
        told.append(loop.time())

    async with (
        asyncio.timeout(20),
        proxy_to(nats_server.port) as proxy,
        connect(proxy.url, "far", ignore) as far,
        aclosing(follow(EventLog(far, log.shards), run, silence_seconds=0.5, on_silence=on_silence)) as events,
    ):
        assert (await anext(events)).seq == 1
        proxy.stall_answers()
        told.append(loop.time())
        following = asyncio.ensure_future(anext(events))
        await until_true(lambda: len(told) == 3)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    # A read of the log is given up after two seconds.
    assert all(later - earlier < 0.5 + 2.5 for earlier, later in itertools.pairwise(told))


@pytest.mark.parametrize("end", [NatsServer.stop, NatsServer.kill], ids=["stop", "kill"])
async def test_a_server_that_restarts_while_the_run_goes_on(
    frail_broker: Broker, fresh_nats: NatsServer, run: RunKey, end: object
) -> None:
    assert callable(end)
    words = 300
    log = EventLog(frail_broker, await converge(frail_broker, 2, replicas=1))
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    writing = asyncio.create_task(extend_run(log, run, first, words))
    async with asyncio.timeout(20), aclosing(follow(log, run)) as events:
        seen = []
        async for event in events:
            seen.append(event.seq)
            if event.seq == 100:
                await asyncio.to_thread(end, fresh_nats)
                await start_again(fresh_nats)
        await writing

    assert seen == list(range(1, words + 3))


async def test_following_waits_for_a_server_that_is_away(
    frail_broker: Broker, fresh_nats: NatsServer, run: RunKey
) -> None:
    log = EventLog(frail_broker, await converge(frail_broker, 2, replicas=1))
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    await log.append(run, Kind.ENDED, completed(run, 2), after=first)
    fresh_nats.kill()
    await until_connected(frail_broker, False)
    silences = 0

    async def on_silence() -> None:
        nonlocal silences
        silences += 1
        if silences == 2:
            fresh_nats.launch()

    async with asyncio.timeout(10):
        events = [event async for event in follow(log, run, silence_seconds=0.3, on_silence=on_silence)]

    assert seqs(events) == [1, 2]
    assert silences >= 2


async def test_what_is_never_heard_live_is_found_in_the_log(frail_broker: Broker, run: RunKey) -> None:
    await api(frail_broker, "STREAM.CREATE.EVENTS_0", mute_stream(), dict)
    log = EventLog(frail_broker, shards=1)
    after = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    async with asyncio.timeout(10), aclosing(follow(log, run, silence_seconds=0.5)) as events:
        assert (await anext(events)).seq == 1
        after = await log.append(run, Kind.PROGRESS, said(run, 2, 3), after=after)
        assert [(await anext(events)).seq for _ in range(2)] == [2, 3]
        await log.append(run, Kind.ENDED, completed(run, 4), after=after)
        assert [event.seq async for event in events] == [4]


async def test_a_stream_that_cannot_be_read_is_asked_again_soon(frail_broker: Broker, run: RunKey) -> None:
    """The connection stands, but nobody answers for the stream: as while a cluster elects its leader."""
    closed = mute_stream() | {"allow_direct": False}
    await api(frail_broker, "STREAM.CREATE.EVENTS_0", closed, dict)
    log = EventLog(frail_broker, shards=1)
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    await log.append(run, Kind.ENDED, completed(run, 2), after=first)
    asked = frail_broker.client.stats["out_msgs"]

    async def seen() -> list[int]:
        return [event.seq async for event in follow(log, run)]

    following = asyncio.create_task(seen())
    await until_true(lambda: frail_broker.client.stats["out_msgs"] >= asked + 4)
    assert not following.done()
    await api(frail_broker, "STREAM.UPDATE.EVENTS_0", mute_stream(), dict)
    async with asyncio.timeout(5):
        assert await following == [1, 2]
