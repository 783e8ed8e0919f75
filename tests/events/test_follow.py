"""Following a run: past and live events joined, each once and in order, from anywhere."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from libs.events.broker import Broker, Msg
from libs.events.follow import UnknownRun, follow
from libs.events.log import EventLog
from libs.events.run_events import Served, encode_append
from libs.events.subjects import Kind, RunKey, live_subject, shard_of
from tests.events.runs import completed, extend_run, requested, said, seqs, write_run
from tests.events.waiting import until_true


async def followed(log: EventLog, run: RunKey, after: int = 0) -> list[Served]:
    """All that a follower sees, which must come to an end by itself."""
    async with asyncio.timeout(10):
        return [event async for event in follow(log, run, after)]


async def test_a_run_that_has_ended_is_told_from_the_past(log: EventLog, run: RunKey) -> None:
    count = await write_run(log, run, words=5)

    events = await followed(log, run)

    assert seqs(events) == list(range(1, count + 1))
    assert [event.type for event in events] == ["run.requested", *["node.delta"] * 5, "run.completed"]
    assert [event.ends_run for event in events] == [False] * 6 + [True]


@pytest.mark.parametrize("after", [1, 3, 6])
async def test_a_follower_that_comes_back_is_told_what_it_has_not_seen(log: EventLog, run: RunKey, after: int) -> None:
    await write_run(log, run, words=5)

    assert seqs(await followed(log, run, after)) == list(range(after + 1, 8))


@pytest.mark.parametrize("after", [7, 100])
async def test_a_follower_for_whom_nothing_is_left_is_told_so_at_once(log: EventLog, run: RunKey, after: int) -> None:
    await write_run(log, run, words=5)
    async with asyncio.timeout(0.2):
        assert [event async for event in follow(log, run, after)] == []


async def test_an_append_is_resumed_in_its_middle(log: EventLog, run: RunKey) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    second = await log.append(run, Kind.PROGRESS, said(run, 2, 3, 4, 5), after=first)
    await log.append(run, Kind.ENDED, completed(run, 6), after=second)

    assert seqs(await followed(log, run, after=3)) == [4, 5, 6]


async def test_events_come_live_while_they_are_appended(log: EventLog, run: RunKey) -> None:
    after = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    async with asyncio.timeout(5), aclosing(follow(log, run)) as events:
        assert (await anext(events)).seq == 1
        for seq in (2, 3, 4):
            after = await log.append(run, Kind.PROGRESS, said(run, seq), after=after)
            async with asyncio.timeout(0.1):
                assert (await anext(events)).seq == seq
        await log.append(run, Kind.ENDED, completed(run, 5), after=after)
        assert [event.seq async for event in events] == [5]


async def test_a_follower_of_a_run_that_does_not_exist_is_refused(log: EventLog, run: RunKey) -> None:
    await write_run(log, run, words=1)

    with pytest.raises(UnknownRun):
        await followed(log, RunKey(run.workspace, f"{run.run_id}x"))
    with pytest.raises(UnknownRun):
        await followed(log, RunKey(f"{run.workspace}x", run.run_id))


async def test_twenty_followers_from_everywhere_see_each_event_once(log: EventLog, run: RunKey) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    words = 400
    writing = asyncio.create_task(extend_run(log, run, first, words))

    async def join_at(number: int) -> list[int]:
        """Begin to follow once event `number * 20` was seen by somebody else, after half as many."""
        async with aclosing(follow(log, run)) as ahead:
            async for event in ahead:
                if event.seq >= number * 20:
                    break
        return seqs(await followed(log, run, after=number * 10))

    async with asyncio.timeout(20):
        seen = await asyncio.gather(*(join_at(number) for number in range(1, 21)))
        await writing

    assert seen == [list(range(number * 10 + 1, words + 3)) for number in range(1, 21)]


async def test_followers_leave_no_subscription_behind(log: EventLog, run: RunKey, broker: Broker) -> None:
    before = len(broker.client._subs)
    await write_run(log, run, words=3)
    for after in range(4):
        await followed(log, run, after)
    async with aclosing(follow(log, run)) as events:
        await anext(events)

    assert len(broker.client._subs) == before


async def test_the_followers_of_a_run_share_a_subscription(log: EventLog, run: RunKey, broker: Broker) -> None:
    before = len(broker.client._subs)
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    async with aclosing(follow(log, run)) as one, aclosing(follow(log, run)) as other:
        assert ((await anext(one)).seq, (await anext(other)).seq) == (1, 1)
        assert len(broker.client._subs) == before + 1
        await one.aclose()
        second = await log.append(run, Kind.PROGRESS, said(run, 2), after=first)
        async with asyncio.timeout(0.2):
            assert (await anext(other)).seq == 2
        await log.append(run, Kind.ENDED, completed(run, 3), after=second)
        assert [event.seq async for event in other] == [3]
    assert len(broker.client._subs) == before


async def test_what_is_heard_and_cannot_be_read_stops_nothing(log: EventLog, run: RunKey, broker: Broker) -> None:
    after = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    subject = live_subject(shard_of(run.run_id, log.shards), run).replace("*", "progress")
    unreadable = (b'{"events": []}', b"no append", b'{"events": [{}]}')
    async with asyncio.timeout(5), aclosing(follow(log, run)) as events:
        assert (await anext(events)).seq == 1
        for seq, payload in enumerate(unreadable, 2):
            following = asyncio.ensure_future(anext(events))
            await broker.publish(subject, payload, {"Nats-Sequence": "7"})
            after = await log.append(run, Kind.PROGRESS, said(run, seq), after=after)
            assert (await following).seq == seq
        following = asyncio.ensure_future(anext(events))
        await broker.publish(subject, encode_append(said(run, 5)))  # without its place in the stream
        await log.append(run, Kind.ENDED, completed(run, 5), after=after)
        assert (await following).type == "run.completed"


@pytest.fixture
async def asked(broker: Broker) -> AsyncIterator[list[dict[str, Any]]]:
    """What the log is asked by a body, as the server's other listeners hear it."""
    found: list[dict[str, Any]] = []

    async def heard(message: Msg) -> None:
        if message.data:
            found.append(json.loads(message.data))

    subscription = await broker.subscribe("$JS.API.DIRECT.GET.>", heard)
    yield found
    await broker.unsubscribe(subscription)


def _about(asked: list[dict[str, Any]], run: RunKey, word: str) -> list[dict[str, Any]]:
    return [each for each in asked if run.run_id in each.get(word, "")]


async def test_a_look_at_a_run_where_nothing_happened_has_the_server_search_nothing(
    log: EventLog, run: RunKey, asked: list[dict[str, Any]]
) -> None:
    """The next message of a run is found by looking through all that other runs appended since: for ever, in a day."""
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    following = asyncio.create_task(collect(follow(log, run, silence_seconds=0.3)))
    await until_true(lambda: len(_about(asked, run, "last_by_subj")) >= 4)
    await log.append(run, Kind.ENDED, completed(run, 2), after=first)
    assert await following == [1, 2]
    assert _about(asked, run, "next_by_subj") == []


async def test_the_past_is_asked_for_as_many_messages_as_there_are(
    log: EventLog, run: RunKey, asked: list[dict[str, Any]]
) -> None:
    await write_run(log, run, words=600)
    assert seqs(await followed(log, run)) == list(range(1, 603))
    assert [each["batch"] for each in _about(asked, run, "next_by_subj")] == [1, 256, 256, 88]


async def test_silence_is_told_for_as_long_as_it_lasts(log: EventLog, run: RunKey) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def on_silence() -> None:
        times.append(loop.time())

    events = follow(log, run, silence_seconds=0.3, on_silence=on_silence)
    following = asyncio.create_task(collect(events))
    await until_true(lambda: len(times) == 3)
    await log.append(run, Kind.ENDED, completed(run, 2), after=first)

    assert await following == [1, 2]
    assert all(0.29 < later - earlier < 0.6 for earlier, later in itertools.pairwise(times))


async def test_a_follower_that_reads_slowly_misses_nothing(log: EventLog, run: RunKey) -> None:
    """More is appended than waits for one follower: the rest is read from the log."""
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    async with asyncio.timeout(20), aclosing(follow(log, run)) as events:
        assert (await anext(events)).seq == 1
        await extend_run(log, run, first, words=1500)
        assert [event.seq async for event in events] == list(range(2, 1503))


async def collect(events: object) -> list[int]:
    return [event.seq async for event in events]  # type: ignore[attr-defined]
