"""Appending: what is stored, who wins, and what is refused."""

import asyncio

import msgspec
import pytest

from libs.events import log as event_log
from libs.events.appends import Conflict, append_message
from libs.events.broker import Broker, Msg, Unavailable
from libs.events.log import EventLog, TooLarge, events_of
from libs.events.reads import Stored
from libs.events.run_events import decode_append, encode_append
from libs.events.subjects import Kind, RunKey
from tests.events.runs import completed, requested, said, seqs


async def test_what_is_appended_is_read_back_byte_for_byte(log: EventLog, run: RunKey) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    second = await log.append(run, Kind.PROGRESS, said(run, 2, 3, 4), after=first)
    third = await log.append(run, Kind.ENDED, completed(run, 5), after=second)

    messages = await log.read(run)

    assert [message.sequence for message in messages] == [first, second, third]
    appends = [requested(run), said(run, 2, 3, 4), completed(run, 5)]
    assert [message.payload for message in messages] == [encode_append(append) for append in appends]
    assert events_of(messages) == [event for append in appends for event in append.events]


async def test_of_fifty_appends_after_the_same_sequence_one_wins(log: EventLog, run: RunKey) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    rivals = [said(run, 2, by=f"executor-{number}") for number in range(50)]

    results = await asyncio.gather(
        *(log.append(run, Kind.PROGRESS, rival, after=first) for rival in rivals), return_exceptions=True
    )

    winners = [number for number, result in enumerate(results) if isinstance(result, int)]
    conflicts = [result for result in results if isinstance(result, Conflict)]
    assert len(winners) == 1
    assert len(conflicts) == 49
    assert {decode_append(conflict.last.payload).by for conflict in conflicts} == {f"executor-{winners[0]}"}
    assert [decode_append(message.payload).by for message in await log.read(run)][1:] == [f"executor-{winners[0]}"]


async def test_a_writer_that_was_overtaken_is_refused_whatever_it_writes(log: EventLog, run: RunKey) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    await log.append(run, Kind.PROGRESS, said(run, 2), after=first)

    with pytest.raises(Conflict) as conflict:
        await log.append(run, Kind.ENDED, completed(run, 2), after=first)

    assert decode_append(conflict.value.last.payload) == said(run, 2)
    assert await log.end(run) is None


async def test_the_same_request_twice_is_accepted_once(log: EventLog, run: RunKey) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)

    assert await log.append(run, Kind.REQUESTED, requested(run), after=0) == first
    assert len(await log.read(run)) == 1


async def test_another_request_for_the_same_run_meets_the_first_one(log: EventLog, run: RunKey) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    await log.append(run, Kind.PROGRESS, said(run, 2), after=first)
    other = msgspec.structs.replace(requested(run), by="key_2")

    with pytest.raises(Conflict) as conflict:
        await log.append(run, Kind.REQUESTED, other, after=0)

    assert conflict.value.last == await log.first(run)


async def test_a_large_append_is_stored_in_parts_and_in_order(log: EventLog, run: RunKey) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    words = said(run, *range(2, 8), text="x" * (event_log.MAX_MESSAGE_BYTES // 4))
    large = msgspec.structs.replace(words, events=[*words.events, *completed(run, 8).events])

    last = await log.append(run, Kind.ENDED, large, after=first)

    messages = await log.read(run)
    assert messages[-1].sequence == last
    assert all(len(message.payload) <= event_log.MAX_MESSAGE_BYTES for message in messages)
    assert len(messages) > 2
    assert seqs(events_of(messages)) == list(range(1, 9))
    kinds = [message.subject.rpartition(".")[2] for message in messages]
    assert kinds == ["requested", *["progress"] * (len(messages) - 2), "ended"]


async def test_an_event_that_no_message_can_hold_is_refused_and_harms_nobody(log: EventLog, run: RunKey) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    # Together with its headers this is larger than the server takes: it would end the connection.
    beyond = said(run, 2, text="x" * (log.broker.max_payload - len(encode_append(said(run, 2))) - 10))
    with pytest.raises(TooLarge):
        await log.append(run, Kind.PROGRESS, beyond, after=first)

    assert await log.append(run, Kind.PROGRESS, said(run, 2), after=first) > first


async def test_the_largest_event_is_stored(log: EventLog, run: RunKey) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    largest = said(run, 2, text="x" * (log.broker.max_payload - len(encode_append(said(run, 2))) - 4100))

    await log.append(run, Kind.PROGRESS, largest, after=first)

    last = await log.last(run)
    assert last is not None
    assert last.payload == encode_append(largest)
    assert events_of(await log.read(run))[1:] == largest.events


@pytest.mark.parametrize("code", [10071, 10164])
async def test_a_failed_comparison_without_a_rival_is_tried_again(
    log: EventLog, run: RunKey, broker: Broker, code: int
) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    answers = [b'{"error":{"code":400,"err_code":%d,"description":"wrong last sequence"}}' % code, b'{"seq":7}']
    asked: list[str] = []

    async def leader_that_errs_once(message: Msg) -> None:
        asked.append((message.headers or {})["Nats-Expected-Last-Subject-Sequence"])
        await broker.publish(message.reply, answers[len(asked) - 1])

    subject = f"errs.{run.run_id}"
    await broker.subscribe(subject, leader_that_errs_once)

    sequence = await append_message(
        broker,
        log.stream(run),
        subject,
        b"payload",
        after=first,
        compare=log.subject(run, "*"),
        patience_seconds=5,
    )

    assert sequence == 7
    assert asked == [str(first)] * 2


async def test_a_refusal_that_stays_is_reported_with_its_reason(broker: Broker, run: RunKey, log: EventLog) -> None:
    async def full(message: Msg) -> None:
        await broker.publish(message.reply, b'{"error":{"code":400,"err_code":10077,"description":"disk is full"}}')

    await broker.subscribe(f"full.{run.run_id}", full)

    with pytest.raises(Unavailable, match="disk is full"):
        await append_message(broker, log.stream(run), f"full.{run.run_id}", b"payload", after=0, patience_seconds=0.1)


async def test_runs_of_two_workspaces_with_one_id_are_two_runs(log: EventLog, run: RunKey) -> None:
    other = RunKey(f"{run.workspace}x", run.run_id)

    await log.append(run, Kind.REQUESTED, requested(run), after=0)

    assert await log.read(other) == []
    assert await log.last(other) is None
    assert isinstance(await log.last(run), Stored)
