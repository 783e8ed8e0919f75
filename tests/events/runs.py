"""Runs to append: events with the least that they must hold, and appends of them."""

from collections.abc import Sequence
from datetime import UTC, datetime

from libs.events.log import EventLog
from libs.events.run_events import (
    Append,
    CompletedData,
    DeltaData,
    NodeDelta,
    RequestedData,
    RunCompleted,
    RunEvent,
    RunRequested,
    Served,
    Usage,
)
from libs.events.subjects import Kind, RunKey, shard_of
from libs.runtime.ids import new_id

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def requested(run: RunKey) -> Append:
    """What begins a run: its first event, `seq` 1."""
    data = RequestedData(flow_id="flow_1", deployment_id="dep_1", version=1, input={"name": "Ada"})
    return Append(by="key_1", events=[RunRequested(seq=1, run_id=run.run_id, at=AT, data=data)])


def said(run: RunKey, *seqs: int, text: str = "word", by: str = "executor-1") -> Append:
    """A model said `text`, once for each of `seqs`."""
    events: list[RunEvent] = [
        NodeDelta(seq=seq, run_id=run.run_id, at=AT, node="llm", data=DeltaData(text=text)) for seq in seqs
    ]
    return Append(by=by, events=events)


def completed(run: RunKey, seq: int) -> Append:
    """What ends a run."""
    data = CompletedData(usage=Usage(), started_at=AT, duration_seconds=0.5, output="done")
    return Append(by="executor-1", events=[RunCompleted(seq=seq, run_id=run.run_id, at=AT, data=data)])


async def write_run(log: EventLog, run: RunKey, words: int) -> int:
    """A whole run, an event an append: 1, then `words`, then the end. Answers how many events it has."""
    await extend_run(log, run, await log.append(run, Kind.REQUESTED, requested(run), after=0), words)
    return words + 2


async def extend_run(log: EventLog, run: RunKey, after: int, words: int) -> int:
    """The same for a run that has been asked for; answers the stream sequence of its end."""
    for seq in range(2, words + 2):
        after = await log.append(run, Kind.PROGRESS, said(run, seq), after=after)
    return await log.append(run, Kind.ENDED, completed(run, words + 2), after=after)


def run_in(workspace: str, shard: int, shards: int) -> RunKey:
    """A new run that lies in the stream of `shard`."""
    while True:
        run = RunKey(workspace, new_id("run"))
        if shard_of(run.run_id, shards) == shard:
            return run


def seqs(events: Sequence[Served | RunEvent]) -> list[int]:
    """The `seq` of each event."""
    return [event.seq for event in events]
