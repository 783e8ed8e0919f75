"""Groups on the log: who is asked for, leaves and ends in them, and who is refused."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cli.servers import NatsServer
from libs.events.appends import Conflict
from libs.events.broker import Unavailable, connect
from libs.events.groups import encode_group, entry_of, left_of
from libs.events.log import EventLog, events_of
from libs.events.run_events import decode_append, encode_append
from libs.events.subjects import Kind, RunKey, parse_run_subject
from tests.events.grouped import ask_together, end_together, ends_of, members, requests_of, stored_of
from tests.events.runs import completed, requested, said, seqs
from tests.events.waiting import until
from tests.faults.proxy import Proxy, proxy_to


@pytest.fixture
def runs(workspace: str) -> list[RunKey]:
    """Three runs of one group, not yet asked for."""
    return members(workspace, 3)


@pytest.fixture
async def asked(log: EventLog, runs: list[RunKey]) -> int:
    """The sequence of the message that asks for them."""
    return await ask_together(log, runs)


async def who_left(log: EventLog, group: RunKey) -> list[str]:
    last = await log.last(group)
    assert last is not None
    return left_of(group, last)


async def test_a_run_that_was_asked_for_with_others_is_its_request_alone(
    log: EventLog, runs: list[RunKey], asked: int
) -> None:
    for run in runs:
        first = await log.first(run)
        assert first is not None
        assert (first.sequence, first.subject) == (asked, log.subject(run, Kind.REQUESTED))
        assert first.payload == encode_append(requested(run))
        assert await log.read(run) == [first]
        assert await log.scan(run, asked + 1) == []
        assert await log.newest(run) is None
        assert await log.end(run) is None
        assert await log.last(run) is None


async def test_an_id_that_the_group_does_not_hold_is_of_no_run(log: EventLog, runs: list[RunKey], asked: int) -> None:
    (*_, fourth) = members(runs[0].workspace, 4, entry_of(runs[0]).run_id)
    foreign = RunKey(f"{runs[0].workspace}x", runs[0].run_id)
    await end_together(log, runs, asked)
    for run in (fourth, foreign):
        assert await log.first(run) is None
        assert await log.end(run) is None
        assert await log.newest(run) is None
        assert await log.read(run) == []


async def test_a_run_that_ended_with_the_others_is_read_whole(log: EventLog, runs: list[RunKey], asked: int) -> None:
    ended = await end_together(log, runs, asked)
    for run in runs:
        messages = await log.read(run)
        assert [message.sequence for message in messages] == [asked, ended]
        assert [message.subject for message in messages] == [
            log.subject(run, Kind.REQUESTED),
            log.subject(run, Kind.ENDED),
        ]
        assert events_of(messages) == [*requested(run).events, *completed(run, 2).events]
        assert await log.end(run) == messages[-1]
        assert await log.newest(run) == messages[-1]
        assert await stored_of(log.broker, log, run) == {}
    assert await stored_of(log.broker, log, entry_of(runs[0])) == {"requested": 1, "ended": 1}


@pytest.mark.parametrize("words", [0, 1, 3])
async def test_a_run_that_left_and_ended_by_itself_is_read_whole(
    log: EventLog, runs: list[RunKey], asked: int, words: int
) -> None:
    one, *others = runs
    after = asked
    for seq in range(2, words + 2):
        after = await log.append(one, Kind.PROGRESS, said(one, seq), after=after)
    last = await log.append(one, Kind.ENDED, completed(one, words + 2), after=after)
    group_last = await log.last(entry_of(one))
    assert group_last is not None
    ended = await end_together(log, others, group_last.sequence)

    messages = await log.read(one)
    assert seqs(events_of(messages)) == list(range(1, words + 3))
    assert (messages[0].sequence, messages[-1].sequence) == (asked, last)
    assert await log.scan(one, asked + 1) == messages[1:]
    assert await log.end(one) == await log.newest(one) == await log.last(one) == messages[-1]
    for other in others:
        assert [message.sequence for message in await log.read(other)] == [asked, ended]


async def test_what_is_said_of_one_run_has_it_leave_once(log: EventLog, runs: list[RunKey], asked: int) -> None:
    one, group = runs[0], entry_of(runs[0])
    second = await log.append(one, Kind.PROGRESS, said(one, 2), after=asked)
    assert await stored_of(log.broker, log, group) == {"requested": 1, "progress": 1}
    assert await stored_of(log.broker, log, one) == {"progress": 1}
    assert await who_left(log, group) == [one.run_id]

    await log.append(one, Kind.ENDED, completed(one, 3), after=second)
    assert await stored_of(log.broker, log, group) == {"requested": 1, "progress": 1}
    assert await stored_of(log.broker, log, one) == {"progress": 1, "ended": 1}
    assert seqs(events_of(await log.read(one))) == [1, 2, 3]


async def test_whoever_leaves_later_does_not_bring_back_those_who_left(
    log: EventLog, runs: list[RunKey], asked: int
) -> None:
    group = entry_of(runs[0])
    for run in runs:
        await log.append(run, Kind.PROGRESS, said(run, 2), after=asked)
    assert await who_left(log, group) == [run.run_id for run in runs]
    assert await stored_of(log.broker, log, group) == {"requested": 1, "progress": 3}


async def test_leaving_twice_is_one_message(log: EventLog, runs: list[RunKey], asked: int) -> None:
    group, ids = entry_of(runs[0]), [run.run_id for run in runs]
    assert await log.leave(group, ids[:2]) is None
    assert await log.leave(group, ids[:2]) is None
    assert await log.leave(group, ids[1:2]) is None
    assert await stored_of(log.broker, log, group) == {"requested": 1, "progress": 1}
    assert await log.leave(group, ids) is None
    assert await who_left(log, group) == ids


async def test_of_many_who_leave_at_once_each_has_left(log: EventLog, workspace: str) -> None:
    runs = members(workspace, 12)
    asked = await ask_together(log, runs)
    async with asyncio.TaskGroup() as group:
        for run in runs:
            group.create_task(log.append(run, Kind.ENDED, completed(run, 2), after=asked))
    assert sorted(await who_left(log, entry_of(runs[0]))) == [run.run_id for run in runs]
    for run in runs:
        assert seqs(events_of(await log.read(run))) == [1, 2]


async def test_nobody_leaves_a_group_that_is_not_there(log: EventLog, runs: list[RunKey]) -> None:
    with pytest.raises(Unavailable):
        await log.leave(entry_of(runs[0]), [runs[0].run_id])
    assert await stored_of(log.broker, log, entry_of(runs[0])) == {}


async def test_who_leaves_a_group_that_has_ended_is_given_its_ends(
    log: EventLog, runs: list[RunKey], asked: int
) -> None:
    ended = await end_together(log, runs[:2], asked)
    found = await log.leave(entry_of(runs[0]), [run.run_id for run in runs])
    assert found is not None
    assert (found.sequence, parse_run_subject(found.subject)[1]) == (ended, Kind.ENDED)
    assert await stored_of(log.broker, log, entry_of(runs[0])) == {"requested": 1, "ended": 1}


async def test_nothing_is_said_of_a_run_that_ended_with_the_others(
    log: EventLog, runs: list[RunKey], asked: int
) -> None:
    await end_together(log, runs, asked)
    for kind, append in ((Kind.PROGRESS, said(runs[1], 2)), (Kind.ENDED, completed(runs[1], 2))):
        with pytest.raises(Conflict) as conflict:
            await log.append(runs[1], kind, append, after=asked)
        assert conflict.value.last == await log.end(runs[1])
        assert conflict.value.last.subject == log.subject(runs[1], Kind.ENDED)
        assert decode_append(conflict.value.last.payload) == completed(runs[1], 2)
    assert await stored_of(log.broker, log, runs[1]) == {}


async def test_a_run_whose_end_was_not_among_the_others_goes_on_by_itself(
    log: EventLog, runs: list[RunKey], asked: int
) -> None:
    await end_together(log, runs[:2], asked)
    second = await log.append(runs[2], Kind.PROGRESS, said(runs[2], 2), after=asked)
    await log.append(runs[2], Kind.ENDED, completed(runs[2], 3), after=second)
    assert seqs(events_of(await log.read(runs[2]))) == [1, 2, 3]
    assert await stored_of(log.broker, log, entry_of(runs[0])) == {"requested": 1, "ended": 1}


async def test_ends_are_refused_once_somebody_has_left(log: EventLog, runs: list[RunKey], asked: int) -> None:
    await log.append(runs[0], Kind.ENDED, completed(runs[0], 2), after=asked)

    with pytest.raises(Conflict) as conflict:
        await end_together(log, runs, asked)

    assert parse_run_subject(conflict.value.last.subject) == (entry_of(runs[0]), Kind.PROGRESS)
    assert left_of(entry_of(runs[0]), conflict.value.last) == [runs[0].run_id]
    assert await log.end(runs[1]) is None
    assert await end_together(log, runs[1:], conflict.value.last.sequence) > conflict.value.last.sequence


async def test_of_two_who_append_to_a_run_of_a_group_one_wins(log: EventLog, runs: list[RunKey], asked: int) -> None:
    rivals = [said(runs[0], 2, by=f"executor-{number}") for number in range(8)]

    results = await asyncio.gather(
        *(log.append(runs[0], Kind.PROGRESS, rival, after=asked) for rival in rivals), return_exceptions=True
    )

    winners = [number for number, result in enumerate(results) if isinstance(result, int)]
    conflicts = [result for result in results if isinstance(result, Conflict)]
    assert (len(winners), len(conflicts)) == (1, 7)
    assert {decode_append(each.last.payload).by for each in conflicts} == {f"executor-{winners[0]}"}
    assert await stored_of(log.broker, log, runs[0]) == {"progress": 1}


async def test_a_second_writer_is_refused_with_what_the_first_wrote(
    log: EventLog, runs: list[RunKey], asked: int
) -> None:
    await log.append(runs[0], Kind.ENDED, completed(runs[0], 2), after=asked)
    with pytest.raises(Conflict) as conflict:
        await log.append(runs[0], Kind.PROGRESS, said(runs[0], 2, by="late"), after=asked)
    assert conflict.value.last == await log.end(runs[0])


async def test_another_group_of_the_same_id_meets_the_first_one(log: EventLog, runs: list[RunKey], asked: int) -> None:
    assert await ask_together(log, runs) == asked
    with pytest.raises(Conflict):
        await log.append_group(entry_of(runs[0]), Kind.REQUESTED, requests_of(runs[:2]), after=0)


@pytest.fixture
async def proxy(nats_server: NatsServer) -> AsyncIterator[Proxy]:
    async with proxy_to(nats_server.port) as between:
        yield between


@pytest.fixture
async def far_log(proxy: Proxy, log: EventLog) -> AsyncIterator[EventLog]:
    """The same log, reached through the proxy."""
    async with connect(proxy.url, "far", lambda: None) as broker:
        yield EventLog(broker, log.shards)


@pytest.mark.parametrize("kind", [Kind.REQUESTED, Kind.PROGRESS, Kind.ENDED])
async def test_a_groups_message_whose_acknowledgement_was_lost_is_stored_once(
    far_log: EventLog, log: EventLog, runs: list[RunKey], proxy: Proxy, kind: Kind
) -> None:
    group = entry_of(runs[0])
    after = 0 if kind is Kind.REQUESTED else await ask_together(log, runs)
    payloads = {
        Kind.REQUESTED: requests_of(runs),
        Kind.PROGRESS: encode_group({}, [runs[0].run_id]),
        Kind.ENDED: ends_of(runs),
    }
    proxy.stall_answers()
    appending = asyncio.create_task(far_log.append_group(group, kind, payloads[kind], after=after))

    async def is_stored() -> bool:
        return (await stored_of(log.broker, log, group)).get(kind) == 1

    await until(is_stored)
    proxy.drop()

    sequence = await appending

    last = await log.last(group)
    assert last is not None
    assert (last.sequence, last.payload) == (sequence, payloads[kind])
    assert (await stored_of(log.broker, log, group))[kind] == 1
