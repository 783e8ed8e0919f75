"""Carrying a group: whose ends are stored together, whose not, and who is told."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from libs.events.groups import encode_group, entry_of, parts_of
from libs.events.log import EventLog, events_of
from libs.events.pull import Delivery
from libs.events.run_events import (
    Append,
    CompletedData,
    EndData,
    RequestedData,
    RunCancelled,
    RunCompleted,
    RunEnd,
    RunFailed,
    RunRequested,
    Usage,
    encode_append,
    last_event,
)
from libs.events.subjects import Kind, RunKey
from libs.runtime.failures import Terminal
from services.executor.runs import Runs
from services.executor.together import MAX_BYTES, Together
from tests.events.grouped import members, stored_of
from tests.events.runs import AT
from tests.events.waiting import until_true
from tests.gathering.conftest import Flows, Told

FAILING = 2


def request(run: RunKey, gateway: str | None, n: int, text: str = "x") -> Append:
    data = RequestedData(flow_id=run.run_id, deployment_id="dep_1", version=1, input={"n": n, "text": text})
    return Append(by="key_1", events=[RunRequested(seq=1, run_id=run.run_id, at=AT, data=data)], reply=gateway)


async def ask(
    log: EventLog, runs: Sequence[RunKey], gateway: str | None, *, numbers: Sequence[int] = (), text: str = "x"
) -> Delivery:
    """Ask for runs of one group; the message as an executor is given it."""
    given = numbers or [1] * len(runs)
    appends = {run.run_id: encode_append(request(run, gateway, n, text)) for run, n in zip(runs, given, strict=True)}
    payload, group = encode_group(appends), entry_of(runs[0])
    sequence = await log.append_group(group, Kind.REQUESTED, payload, after=0)
    return Delivery(
        subject=log.subject(group, Kind.REQUESTED),
        payload=payload,
        sequence=sequence,
        consumer_sequence=1,
        attempt=1,
        pending=0,
        reply="",
    )


def again(delivery: Delivery) -> Delivery:
    return msgspec.structs.replace(delivery, attempt=delivery.attempt + 1)


def cancelled(run: RunKey) -> Append:
    data = EndData(usage=Usage(), started_at=None, duration_seconds=0.0)
    return Append(by="key_1", events=[RunCancelled(seq=2, run_id=run.run_id, at=AT, data=data)])


def done(run: RunKey) -> bytes:
    """An end that is told apart from what the executor would make."""
    data = CompletedData(usage=Usage(), started_at=AT, duration_seconds=0.5, output="stored before")
    return encode_append(Append(by="executor-0", events=[RunCompleted(seq=2, run_id=run.run_id, at=AT, data=data)]))


async def ends(log: EventLog, runs: Sequence[RunKey]) -> list[RunEnd | None]:
    """The end of each run, which must be its only one."""
    found: list[Any] = []
    for run in runs:
        events = events_of(await log.read(run))
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert sum(isinstance(event, RunCompleted | RunFailed | RunCancelled) for event in events) <= 1
        end = await log.end(run)
        found.append(None if end is None else last_event(end.payload))
        if end is not None:
            assert events[-1] == found[-1]
    return found


async def stored_together(log: EventLog, runs: Sequence[RunKey]) -> list[RunKey]:
    """Those whose ends lie in their group's last message."""
    last = await log.last(entry_of(runs[0]))
    assert last is not None
    return [part.run for part in parts_of(last.subject, last.payload) if part.kind is Kind.ENDED]


def by_id(found: Sequence[RunEnd | None]) -> list[RunEnd]:
    return sorted((end for end in found if end is not None), key=lambda end: end.run_id)


async def test_the_runs_of_a_group_end_in_one_message_and_are_told_in_one(
    log: EventLog, workspace: str, together: Together, told: Told
) -> None:
    runs = members(workspace, 4)
    assert await together.carry(await ask(log, runs, told.gateway, numbers=[1, 3, 5, 7])) == []
    assert await stored_of(log.broker, log, entry_of(runs[0])) == {"requested": 1, "ended": 1}
    found = await ends(log, runs)
    assert [end.data.output for end in found if isinstance(end, RunCompleted)] == [1, 3, 5, 7]
    await until_true(lambda: bool(told.together))
    assert told.together == [(entry_of(runs[0]).run_id, found)]
    assert told.alone == []


async def test_each_gateway_is_told_of_the_runs_that_it_waits_for(
    log: EventLog, workspace: str, together: Together, told: Told
) -> None:
    """A receipt's caller waits for none."""
    runs = members(workspace, 3)
    appends = [request(runs[0], told.gateway, 1), request(runs[1], None, 3), request(runs[2], told.gateway, 5)]
    payload = encode_group({run.run_id: encode_append(each) for run, each in zip(runs, appends, strict=True)})
    asked = await ask(log, members(workspace, 1), None)
    sequence = await log.append_group(entry_of(runs[0]), Kind.REQUESTED, payload, after=0)
    subject = log.subject(entry_of(runs[0]), Kind.REQUESTED)
    delivery = msgspec.structs.replace(asked, subject=subject, payload=payload, sequence=sequence)
    assert await together.carry(delivery) == []
    await until_true(lambda: bool(told.together))
    found = await ends(log, runs)
    assert told.ends == [found[0], found[2]]


async def test_a_run_of_which_a_node_fails_is_left_to_itself(
    log: EventLog, workspace: str, together: Together, told: Told
) -> None:
    runs = members(workspace, 4)
    alone = await together.carry(await ask(log, runs, told.gateway, numbers=[1, FAILING, 3, FAILING]))
    assert alone == [runs[1], runs[3]]
    assert await stored_together(log, runs) == [runs[0], runs[2]]
    assert await ends(log, alone) == [None, None]


async def test_a_run_whose_flow_is_not_there_is_left_to_itself(
    log: EventLog, workspace: str, together: Together, flows: Flows
) -> None:
    runs = members(workspace, 3)
    flows.missing.add(runs[0].run_id)
    assert await together.carry(await ask(log, runs, None)) == [runs[0]]
    assert await stored_together(log, runs) == runs[1:]


async def test_a_group_of_which_no_run_can_be_carried_says_nothing(
    log: EventLog, workspace: str, together: Together
) -> None:
    runs = members(workspace, 2)
    assert await together.carry(await ask(log, runs, None, numbers=[FAILING] * 2)) == runs
    assert await stored_of(log.broker, log, entry_of(runs[0])) == {"requested": 1}


async def test_ends_that_would_be_too_large_together_are_stored_apart(
    log: EventLog, workspace: str, together: Together
) -> None:
    runs = members(workspace, 6)
    delivery = await ask(log, runs, None, text="x" * 15_000)
    alone = await together.carry(delivery)
    last = await log.last(entry_of(runs[0]))
    assert last is not None
    assert len(last.payload) < MAX_BYTES + 10_000
    assert 0 < len(alone) < len(runs)
    assert await stored_together(log, runs) == [run for run in runs if run not in alone]


async def test_a_run_that_is_cancelled_meanwhile_is_left_out_of_the_ends(
    log: EventLog, workspace: str, together: Together, flows: Flows, told: Told
) -> None:
    runs = members(workspace, 3)
    delivery = await ask(log, runs, told.gateway)
    flows.before[runs[2].run_id] = log.append(runs[1], Kind.ENDED, cancelled(runs[1]), after=delivery.sequence)
    assert await together.carry(delivery) == [runs[1]]
    found = await ends(log, runs)
    assert [type(end) for end in found] == [RunCompleted, RunCancelled, RunCompleted]
    assert await stored_together(log, runs) == [runs[0], runs[2]]
    assert await stored_of(log.broker, log, entry_of(runs[0])) == {"requested": 1, "progress": 1, "ended": 1}
    await until_true(lambda: bool(told.together))
    assert told.ends == [found[0], found[2]]


async def test_where_all_are_cancelled_meanwhile_no_end_is_stored(
    log: EventLog, workspace: str, together: Together, flows: Flows, told: Told
) -> None:
    runs = members(workspace, 2)
    delivery = await ask(log, runs, told.gateway)

    async def cancel() -> None:
        for run in runs:
            await log.append(run, Kind.ENDED, cancelled(run), after=delivery.sequence)

    flows.before[runs[1].run_id] = cancel()
    assert await together.carry(delivery) == runs
    assert [type(end) for end in await ends(log, runs)] == [RunCancelled] * 2
    assert await stored_of(log.broker, log, entry_of(runs[0])) == {"requested": 1, "progress": 2}
    assert told.ends == []


async def test_ends_that_were_stored_before_are_told_as_they_are(
    log: EventLog, workspace: str, together: Together, told: Told
) -> None:
    """This process stored them, and was not told that it had."""
    runs = members(workspace, 3)
    delivery = await ask(log, runs, told.gateway)
    payload = encode_group({run.run_id: done(run) for run in runs[:2]})
    await log.append_group(entry_of(runs[0]), Kind.ENDED, payload, after=delivery.sequence)
    assert await together.carry(delivery) == [runs[2]]
    found = await ends(log, runs)
    assert [end.data.output for end in found if isinstance(end, RunCompleted)] == ["stored before"] * 2
    assert found[2] is None
    await until_true(lambda: bool(told.together))
    assert told.ends == found[:2]


async def test_a_group_that_is_delivered_again_is_taken_apart(
    log: EventLog, workspace: str, together: Together, told: Told
) -> None:
    runs = members(workspace, 3)
    delivery = again(await ask(log, runs, told.gateway))
    assert await together.carry(delivery) == runs
    assert await together.carry(again(delivery)) == runs
    assert await stored_of(log.broker, log, entry_of(runs[0])) == {"requested": 1, "progress": 1}
    assert await ends(log, runs) == [None] * 3


async def test_the_first_executor_is_refused_once_the_group_was_taken_apart(
    log: EventLog, workspace: str, together: Together, flows: Flows
) -> None:
    runs = members(workspace, 2)
    delivery = await ask(log, runs, None)
    flows.before[runs[1].run_id] = together.carry(again(delivery))
    assert await together.carry(delivery) == runs
    assert await stored_of(log.broker, log, entry_of(runs[0])) == {"requested": 1, "progress": 1}


async def test_an_executor_brings_every_run_of_a_group_to_its_end(
    log: EventLog, workspace: str, executor: Runs, told: Told
) -> None:
    runs = members(workspace, 4)
    delivery = await ask(log, runs, told.gateway, numbers=[1, FAILING, 3, 5])
    await executor.on_run_requested(delivery)
    found = await ends(log, runs)
    assert [type(end) for end in found] == [RunCompleted, RunFailed, RunCompleted, RunCompleted]
    await until_true(lambda: len(told.ends) == 4)
    assert by_id(told.ends) == by_id(found)
    assert told.alone == [found[1]]


@pytest.mark.parametrize("ended", [0, 1, 3])
async def test_a_group_whose_executor_died_is_carried_run_by_run(
    log: EventLog, workspace: str, executor: Runs, told: Told, ended: int
) -> None:
    """Whether it had stored nothing, the end of one that had left, or all ends there were to store together."""
    runs = members(workspace, 3)
    delivery = await ask(log, runs, told.gateway)
    if ended == 1:
        await log.append_encoded(runs[0], Kind.ENDED, done(runs[0]), after=delivery.sequence)
    elif ended:
        payload = encode_group({run.run_id: done(run) for run in runs})
        await log.append_group(entry_of(runs[0]), Kind.ENDED, payload, after=delivery.sequence)
    await executor.on_run_requested(again(delivery))
    found = await ends(log, runs)
    outputs = [end.data.output for end in found if isinstance(end, RunCompleted)]
    assert outputs == ["stored before"] * ended + [1] * (3 - ended)
    await until_true(lambda: len(told.alone) == 3)
    assert by_id(told.ends) == by_id(found)
    for _ in range(2):  # whoever is given it once more has nothing left to do
        await executor.on_run_requested(again(again(delivery)))
    assert await ends(log, runs) == found


async def test_a_group_delivered_twice_at_once_ends_each_run_once(
    log: EventLog, workspace: str, executor: Runs, flows: Flows
) -> None:
    runs = members(workspace, 4)
    delivery = await ask(log, runs, None, numbers=[1, FAILING, 3, 5])
    flows.before[runs[3].run_id] = executor.on_run_requested(again(delivery))
    await executor.on_run_requested(delivery)
    assert [type(end) for end in await ends(log, runs)] == [RunCompleted, RunFailed, RunCompleted, RunCompleted]
    assert await stored_of(log.broker, log, entry_of(runs[0])) == {"requested": 1, "progress": 1}


async def test_runs_of_a_group_that_are_given_up_fail_one_by_one(
    log: EventLog, workspace: str, executor: Runs, told: Told
) -> None:
    runs = members(workspace, 3)
    delivery = await ask(log, runs, told.gateway)
    await log.append_encoded(runs[0], Kind.ENDED, done(runs[0]), after=delivery.sequence)
    parts = list(parts_of(delivery.subject, delivery.payload))
    given_up = [msgspec.structs.replace(delivery, subject=part.subject, payload=part.payload) for part in parts]
    assert [await executor.on_poison(each, Terminal("x", "no")) for each in given_up] == [False, True, True]
    assert [type(end) for end in await ends(log, runs)] == [RunCompleted, RunFailed, RunFailed]


async def test_what_is_no_group_is_given_up_whole(log: EventLog, workspace: str, executor: Runs) -> None:
    (run,) = members(workspace, 1)
    delivery = await ask(log, [run], None)
    assert await executor.on_poison(msgspec.structs.replace(delivery, payload=b"no group"), Terminal("x", "no"))
