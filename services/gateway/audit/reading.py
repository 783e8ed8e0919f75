"""Reads the log of one workspace, oldest first, whatever its size: a batch of each stream in memory, no more.

The workspace's runs lie in all event streams, its flows, deployments, keys and limits in the management stream. They
are merged by the time at which the log took them. What is told ends where the log ended when reading began.
"""

import asyncio
import heapq
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from libs.events.broker import Broker, Unavailable
from libs.events.groups import entry_of
from libs.events.log import EventLog
from libs.events.subjects import (
    ANY,
    MANAGEMENT,
    RunKey,
    run_subject,
    shard_of,
    stream_of,
    workspace_managed_filter,
    workspace_runs_filter,
)
from libs.events.topology import api
from libs.events.wire import Heard
from services.gateway.audit.entries import Entry, Message, Wanted, entries_of
from services.gateway.audit.positions import Position, Seal

_BATCH = 256
_BATCH_BYTES = 1024 * 1024
_TRIES = 20
_PAUSE_SECONDS = 0.5
_SKEW = timedelta(minutes=1)
"""How far the clock of a process may be ahead of the log's: so much earlier may be stored what happened `since`."""

_DELAY = timedelta(minutes=2)
"""How much later than it happened something may be stored: an executor says it again for a minute if need be."""

_OLDEST = datetime(2020, 1, 1, tzinfo=UTC)
"""No log is older; the server takes a time before 1678 for one in the future."""

_OF_RUNS = frozenset({"run", "node"})
"""The nouns of what happens to runs; all other types are of managed things."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A stream, and the subjects of it that are read. `number` is the stream's place in positions."""

    number: int
    stream: str
    subject: str


class _State(msgspec.Struct, frozen=True):
    last_seq: int = 0


class _Info(msgspec.Struct, frozen=True):
    state: _State | None = None


def count_sources(log: EventLog) -> int:
    """How many sources a position counts: the event streams, and the management stream as the last."""
    return log.shards + 1


def sources_of(log: EventLog, workspace: str, run_id: str | None, kind: str | None) -> list[Source]:
    """The sources that can hold what is wanted: something of one run, or of one type."""
    of_runs = kind is None or kind.partition(".")[0] in _OF_RUNS
    if run_id is not None:
        shard, run = shard_of(run_id, log.shards), RunKey(workspace, run_id)
        subjects = [run_subject(shard, place, ANY) for place in dict.fromkeys((entry_of(run), run))]
        return [Source(number=shard, stream=stream_of(shard), subject=each) for each in subjects] if of_runs else []
    found = []
    if of_runs:
        shards = range(log.shards)
        found += [Source(number=n, stream=stream_of(n), subject=workspace_runs_filter(n, workspace)) for n in shards]
    if kind is None or not of_runs:
        subject = workspace_managed_filter(workspace)
        found.append(Source(number=log.shards, stream=MANAGEMENT, subject=subject))
    return found


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be read: which sources, what of them, and after which position."""

    sources: Sequence[Source]
    wanted: Wanted
    position: Position
    seal: Seal
    left: Callable[[], bool] = lambda: False
    """Whether nobody waits for more: then reading ends with the batch."""


async def read_entries(broker: Broker, reading: Reading) -> AsyncGenerator[Entry, None]:
    """The wanted entries, oldest first. Unavailable when the log cannot be read for some ten seconds."""
    wanted, position = reading.wanted, reading.position
    async for message in _merged([_messages(broker, each, reading) for each in reading.sources]):
        entries = entries_of(message)
        resumed = message.sequence == position.sequences[message.source]
        for taken, entry in enumerate(entries, 1):
            if resumed and taken <= position.taken:
                continue
            if wanted.takes(entry):
                place = position.after(message.source, message.sequence, taken if taken < len(entries) else 0)
                yield msgspec.structs.replace(entry, position=reading.seal.close(place))
        position = position.after(message.source, message.sequence, 0)


async def _merged(streams: Sequence[AsyncIterator[Message]]) -> AsyncIterator[Message]:
    """The messages of all streams by the time they were stored; of one stream in its own order."""
    heap: list[tuple[datetime, int, int, Message]] = []

    async def advance(number: int) -> None:
        message = await anext(streams[number], None)
        if message is not None:
            heapq.heappush(heap, (message.stored_at, message.sequence, number, message))

    for number in range(len(streams)):
        await advance(number)
    while heap:
        *_, number, message = heapq.heappop(heap)
        yield message
        await advance(number)


async def _messages(broker: Broker, source: Source, reading: Reading) -> AsyncIterator[Message]:
    """The messages of a source after the position, up to the stream's end at this moment."""
    wanted, position = reading.wanted, reading.position
    told = position.sequences[source.number]
    start: dict[str, Any] = {"seq": told + 1}
    if position.taken and position.source == source.number:
        start = {"seq": told}
    elif not told and wanted.since is not None and wanted.since > _OLDEST:
        start = {"start_time": wanted.since - _SKEW}
    info = await api(broker, f"STREAM.INFO.{source.stream}", {}, _Info)
    if info.state is None:
        raise Unavailable("the event log could not be read")
    end = info.state.last_seq
    while not reading.left():
        batch = await _batch(broker, source, start)
        for message in batch:
            if message.sequence > end or (wanted.until is not None and message.stored_at - _DELAY > wanted.until):
                return
            yield message
        if not batch or batch[-1].sequence == end:
            return
        start = {"seq": batch[-1].sequence + 1}


async def _batch(broker: Broker, source: Source, start: dict[str, Any]) -> list[Message]:
    """The next messages of a source, a megabyte or one; none at its end."""
    wanted = {**start, "next_by_subj": source.subject, "batch": _BATCH, "max_bytes": _BATCH_BYTES}
    body = msgspec.json.encode(wanted)
    for left in range(_TRIES - 1, -1, -1):
        try:
            *messages, status = await broker.request_many(f"$JS.API.DIRECT.GET.{source.stream}", body)
        except Unavailable:
            if not left:
                raise
        else:
            headers = status.headers
            if headers.get("Status") == "404" or (headers.get("Status") == "204" and messages):
                return [_message(source, each) for each in messages]
        await asyncio.sleep(_PAUSE_SECONDS)
    raise Unavailable("the event log could not be read")


def _message(source: Source, found: Heard) -> Message:
    headers = found.headers
    stored_at = datetime.fromisoformat(headers["Nats-Time-Stamp"])
    return Message(
        source=source.number,
        sequence=int(headers["Nats-Sequence"]),
        stored_at=stored_at.astimezone(UTC),
        subject=headers["Nats-Subject"],
        payload=found.data,
        follows=int(headers.get("Nats-Expected-Last-Subject-Sequence", "0")),
    )
