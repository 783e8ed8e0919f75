"""Reading a run: short, long, large, and written by a newer replica."""

import asyncio

import msgspec
import pytest

from libs.events.broker import Broker, Msg
from libs.events.log import EventLog, events_of
from libs.events.run_events import decode_append, encode_append, last_event, serve_append
from libs.events.subjects import Kind, RunKey
from tests.events.runs import completed, requested, said, seqs
from tests.events.waiting import until_true


async def test_a_run_that_does_not_exist_is_empty(log: EventLog, run: RunKey) -> None:
    assert await log.read(run) == []
    assert await log.first(run) is None
    assert await log.last(run) is None
    assert await log.end(run) is None


async def test_a_run_of_two_appends_is_read_without_a_scan(log: EventLog, run: RunKey, broker: Broker) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    steps = msgspec.structs.replace(said(run, 2, 3), events=[*said(run, 2, 3).events, *completed(run, 4).events])
    await log.append(run, Kind.ENDED, steps, after=first)
    reads: list[str] = []

    async def see(message: Msg) -> None:
        reads.append(message.subject)

    await broker.subscribe(f"$JS.API.DIRECT.GET.{log.stream(run)}", see)
    await broker.subscribe(f"$JS.API.DIRECT.GET.{log.stream(run)}.>", see)

    assert seqs(events_of(await log.read(run))) == [1, 2, 3, 4]

    prefix = f"$JS.API.DIRECT.GET.{log.stream(run)}"
    await until_true(lambda: len(reads) >= 2)
    assert sorted(reads) == [f"{prefix}.{log.subject(run, kind)}" for kind in (Kind.ENDED, Kind.REQUESTED)]


@pytest.mark.parametrize("ended", [False, True])
async def test_a_run_of_one_append_more_is_read_without_a_scan(
    log: EventLog, run: RunKey, broker: Broker, ended: bool
) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    second = await log.append(run, Kind.PROGRESS, said(run, 2, 3), after=first)
    if ended:
        await log.append(run, Kind.ENDED, completed(run, 4), after=second)
    scans: list[str] = []
    witnessed = asyncio.Event()

    async def see(message: Msg) -> None:
        if message.data == b"witness":
            witnessed.set()
        else:
            scans.append(message.subject)

    await broker.subscribe(f"$JS.API.DIRECT.GET.{log.stream(run)}", see)

    assert seqs(events_of(await log.read(run))) == ([1, 2, 3, 4] if ended else [1, 2, 3])

    await broker.publish(f"$JS.API.DIRECT.GET.{log.stream(run)}", b"witness")
    await witnessed.wait()
    assert scans == []


async def test_a_run_that_goes_on_is_read_up_to_its_last_append(log: EventLog, run: RunKey) -> None:
    after = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    assert seqs(events_of(await log.read(run))) == [1]

    await log.append(run, Kind.PROGRESS, said(run, 2, 3), after=after)
    assert seqs(events_of(await log.read(run))) == [1, 2, 3]


async def test_a_run_of_three_thousand_appends_is_read_whole(log: EventLog, run: RunKey) -> None:
    after = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    for begin in range(2, 3002, 500):  # many at once and so without a comparison, which is faster
        answers = await asyncio.gather(
            *(
                log.broker.request(log.subject(run, Kind.PROGRESS), encode_append(said(run, seq)))
                for seq in range(begin, begin + 500)
            )
        )
        after = max(msgspec.json.decode(answer.data)["seq"] for answer in answers)
    await log.append(run, Kind.ENDED, completed(run, 3002), after=after)

    assert seqs(events_of(await log.read(run))) == list(range(1, 3003))


async def test_a_scan_begins_where_it_is_told(log: EventLog, run: RunKey) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    second = await log.append(run, Kind.PROGRESS, said(run, 2), after=first)
    third = await log.append(run, Kind.PROGRESS, said(run, 3), after=second)

    assert [message.sequence for message in await log.scan(run, first + 1)] == [second, third]
    assert await log.scan(run, third + 1) == []


async def test_a_run_of_many_megabytes_is_read_in_batches_of_bounded_size(log: EventLog, run: RunKey) -> None:
    after = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    for seq in range(2, 10):
        after = await log.append(run, Kind.PROGRESS, said(run, seq, text="x" * 5 * 1024 * 1024), after=after)

    assert seqs(events_of(await log.read(run))) == list(range(1, 10))


@pytest.mark.parametrize("unknown", [{"type": "node.dreamt", "dream": 1}, {"type": "run.paused"}])
async def test_an_event_of_an_unknown_type_is_skipped_by_readers_and_served_as_it_is(
    log: EventLog, run: RunKey, unknown: dict[str, object]
) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    newer = msgspec.json.decode(encode_append(said(run, 2, 4)))
    stranger = {**unknown, "seq": 3, "run_id": run.run_id, "at": "2026-01-02T03:04:05Z"}
    newer["events"].insert(1, stranger)
    newer["new_field"] = True
    payload = msgspec.json.encode(newer)
    assert first < msgspec.json.decode((await log.broker.request(log.subject(run, Kind.PROGRESS), payload)).data)["seq"]

    _, message = await log.read(run)

    assert decode_append(message.payload) == said(run, 2, 4)
    served = serve_append(message.payload)
    assert [event.seq for event in served] == [2, 3, 4]
    assert served[1].type == unknown["type"]
    assert msgspec.json.decode(served[1].body) == stranger
    assert last_event(message.payload) == said(run, 4).events[0]


def test_the_last_event_of_an_unknown_type_is_none(run: RunKey) -> None:
    payload = b'{"by":"x","events":[{"type":"node.dreamt","seq":2,"run_id":"r","at":"2026-01-02T03:04:05Z"}]}'

    assert last_event(payload) is None
