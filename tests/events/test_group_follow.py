"""Following a run of a group: its own events, whether it ends with the others or leaves them."""

import asyncio
from contextlib import aclosing

import pytest

from libs.events.broker import Broker
from libs.events.follow import UnknownRun, follow
from libs.events.groups import entry_of
from libs.events.log import EventLog
from libs.events.run_events import Served, encode_event
from libs.events.subjects import Kind, RunKey, live_subject, shard_of
from tests.events.grouped import ask_together, end_together, members
from tests.events.runs import completed, requested, said, seqs


async def followed(log: EventLog, run: RunKey, after: int = 0) -> list[Served]:
    """All that a follower sees, which must come to an end by itself."""
    async with asyncio.timeout(10):
        return [event async for event in follow(log, run, after)]


def own(run: RunKey) -> list[bytes]:
    """The events of a run that was asked for and ended, nothing between."""
    return [encode_event(event) for event in (*requested(run).events, *completed(run, 2).events)]


async def test_a_run_that_ended_with_the_others_is_told_from_the_past(log: EventLog, workspace: str) -> None:
    runs = members(workspace, 3)
    await end_together(log, runs, await ask_together(log, runs))
    for run in runs:
        assert [event.body for event in await followed(log, run)] == own(run)


@pytest.mark.parametrize(("after", "rest"), [(1, [2]), (2, []), (100, [])])
async def test_who_comes_back_is_told_what_is_left(log: EventLog, workspace: str, after: int, rest: list[int]) -> None:
    runs = members(workspace, 2)
    await end_together(log, runs, await ask_together(log, runs))
    assert seqs(await followed(log, runs[1], after)) == rest


@pytest.mark.parametrize("after", range(5))
async def test_a_run_that_left_is_resumed_anywhere(log: EventLog, workspace: str, after: int) -> None:
    runs = members(workspace, 2)
    asked = await ask_together(log, runs)
    second = await log.append(runs[0], Kind.PROGRESS, said(runs[0], 2, 3), after=asked)
    third = await log.append(runs[0], Kind.PROGRESS, said(runs[0], 4), after=second)
    await log.append(runs[0], Kind.ENDED, completed(runs[0], 5), after=third)
    assert seqs(await followed(log, runs[0], after)) == list(range(after + 1, 6))


async def test_a_member_that_is_not_in_its_group_is_unknown(log: EventLog, workspace: str) -> None:
    *runs, missing = members(workspace, 3)
    await end_together(log, runs, await ask_together(log, runs))
    for run in (missing, RunKey(f"{workspace}x", runs[0].run_id)):
        with pytest.raises(UnknownRun):
            await followed(log, run)


async def test_the_end_that_is_stored_with_the_others_comes_live(log: EventLog, workspace: str) -> None:
    runs = members(workspace, 3)
    asked = await ask_together(log, runs)
    async with asyncio.timeout(10), aclosing(follow(log, runs[1])) as events:
        assert (await anext(events)).body == own(runs[1])[0]
        heard = asyncio.ensure_future(anext(events))
        await end_together(log, runs, asked)
        assert (await heard).body == own(runs[1])[1]
        assert [event async for event in events] == []


async def test_the_word_of_a_stored_end_alone_is_enough(log: EventLog, workspace: str, broker: Broker) -> None:
    """What is heard is passed on as it came: the log is not asked for it, and this end is not even stored."""
    runs = members(workspace, 2)
    asked = await ask_together(log, runs)
    async with asyncio.timeout(10), aclosing(follow(log, runs[1], after=1)) as events:
        heard = asyncio.ensure_future(anext(events))
        subject = live_subject(shard_of(runs[1].run_id, log.shards), entry_of(runs[1])).replace("*", "ended")
        payload = b'{"runs":["00","01"],"appends":[{"events":[]},{"events":[%b]}],"left":[]}'
        while not heard.done():
            await broker.publish(subject, payload % own(runs[1])[1], {"Nats-Sequence": str(asked + 1)})
            await asyncio.wait([heard], timeout=0.05)
        assert (await heard).ends_run
    assert await log.end(runs[1]) is None


async def test_a_run_that_leaves_while_it_is_followed_is_told_on(log: EventLog, workspace: str) -> None:
    runs = members(workspace, 3)
    asked = await ask_together(log, runs)
    async with asyncio.timeout(10), aclosing(follow(log, runs[0])) as events:
        assert (await anext(events)).seq == 1
        heard = asyncio.ensure_future(anext(events))
        after = await log.append(runs[0], Kind.PROGRESS, said(runs[0], 2), after=asked)
        assert (await heard).seq == 2
        last = await log.last(entry_of(runs[0]))
        assert last is not None
        heard = asyncio.ensure_future(anext(events))
        await end_together(log, runs[1:], last.sequence)
        await log.append(runs[0], Kind.ENDED, completed(runs[0], 3), after=after)
        assert (await heard).seq == 3
        assert [event async for event in events] == []


async def test_nobody_hears_of_those_who_leave_but_who_follows_them(log: EventLog, workspace: str) -> None:
    runs = members(workspace, 3)
    asked = await ask_together(log, runs)
    async with asyncio.timeout(10), aclosing(follow(log, runs[2])) as events:
        assert (await anext(events)).seq == 1
        heard = asyncio.ensure_future(anext(events))
        await log.append(runs[0], Kind.ENDED, completed(runs[0], 2), after=asked)
        await log.leave(entry_of(runs[1]), [runs[1].run_id])
        last = await log.last(entry_of(runs[0]))
        assert last is not None
        await end_together(log, runs[2:], last.sequence)
        assert (await heard).body == own(runs[2])[1]


async def test_each_follower_sees_the_events_of_its_own_run(log: EventLog, workspace: str) -> None:
    runs = members(workspace, 8)
    asked = await ask_together(log, runs)
    following = [asyncio.create_task(followed(log, run)) for run in runs]
    await log.append(runs[0], Kind.ENDED, completed(runs[0], 2), after=asked)
    last = await log.last(entry_of(runs[0]))
    assert last is not None
    await end_together(log, runs[1:], last.sequence)
    assert [[event.body for event in each] for each in await asyncio.gather(*following)] == [own(run) for run in runs]


async def test_followers_of_a_group_leave_no_subscription_behind(log: EventLog, workspace: str, broker: Broker) -> None:
    before = len(broker.client._subs)
    runs = members(workspace, 3)
    await end_together(log, runs, await ask_together(log, runs))
    for run in runs:
        await followed(log, run)
    async with aclosing(follow(log, runs[0])) as events:
        await anext(events)
    assert len(broker.client._subs) == before
