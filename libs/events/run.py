"""A run, folded from its events: what is known of it, what it looks like to callers, and how it may end.

The decider of the system: `RunState` is the state, `evolve` takes an event, `close` decides the events of an end. All
of it is pure; times are arguments. What to do next with the nodes is `libs.flows`' business.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, assert_never

import msgspec

from libs.events.run_events import (
    Audience,
    EndData,
    FailedData,
    Fault,
    NodeDelta,
    NodeFailed,
    NodeFinished,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    RequestedData,
    RunCancelled,
    RunCompleted,
    RunEnd,
    RunEvent,
    RunFailed,
    RunFailedData,
    RunRequested,
    RunStarted,
    SkippedData,
    Usage,
    decode_append,
)

Status = Literal["queued", "running", "completed", "failed", "cancelled"]


class NodeState(msgspec.Struct, kw_only=True):
    """What the log says of one node."""

    status: Literal["started", "retrying", "finished", "failed", "skipped"]
    attempt: int = 1
    """The number of the attempt that was started last; one that a crash cut off counts."""
    failures: int = 0
    """Attempts that failed and were to be repeated."""
    started_at: datetime | None = None
    retry_at: datetime | None = None
    until: datetime | None = None
    """When a node that only waits will be through."""
    output: Any = None
    usage: Usage | None = None
    error: Fault | None = None
    continued: bool = False

    @property
    def open(self) -> bool:
        """Whether the node began and has no end."""
        return self.status in ("started", "retrying")


class RunState(msgspec.Struct, kw_only=True):
    """What the log says of a run. `seq` is its last event's number."""

    run_id: str
    requested: RequestedData
    requested_at: datetime
    seq: int
    started_at: datetime | None = None
    nodes: dict[str, NodeState] = {}
    end: RunEnd | None = None

    @property
    def usage(self) -> Usage:
        """The sum over the nodes that finished."""
        return sum((n.usage for n in self.nodes.values() if n.usage is not None), Usage())


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The run object of the API."""

    id: str
    flow_id: str
    deployment_id: str
    version: int
    status: Status
    input: dict[str, Any]
    output: Any
    error: Fault | None
    session_id: str | None
    metadata: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None
    usage: Usage


def begin(event: RunRequested) -> RunState:
    """The state after a run's first event."""
    return RunState(run_id=event.run_id, requested=event.data, requested_at=event.at, seq=event.seq)


def fold(appends: Iterable[bytes]) -> RunState:
    """The state after all payloads of a run, oldest first. ValueError when the first is not its request."""
    events = [event for payload in appends for event in decode_append(payload).events]
    if not events or not isinstance(events[0], RunRequested):
        raise ValueError("a run begins with run.requested")
    state = begin(events[0])
    for event in events[1:]:
        evolve(state, event)
    return state


def evolve(state: RunState, event: RunEvent) -> None:
    """Take one event; an event at or before `state.seq` changes nothing."""
    if event.seq <= state.seq:
        return
    state.seq = event.seq
    match event:
        case RunRequested() | NodeDelta():
            pass
        case RunStarted():
            state.started_at = event.at
        case NodeStarted():
            node = state.nodes.setdefault(event.node, NodeState(status="started"))
            node.status, node.attempt, node.started_at = "started", event.data.attempt, event.at
            node.until = event.data.until or None
        case NodeRetrying():
            node = state.nodes[event.node]
            node.status, node.retry_at, node.error = "retrying", event.data.retry_at, event.data.error
            node.failures += 1
        case NodeFinished():
            node = state.nodes.setdefault(event.node, NodeState(status="finished"))
            node.status, node.output, node.usage = "finished", event.data.output, event.data.usage
        case NodeFailed():
            node = state.nodes.setdefault(event.node, NodeState(status="failed"))
            node.status, node.error, node.continued = "failed", event.data.error, event.data.continued
        case NodeSkipped():
            state.nodes[event.node] = NodeState(status="skipped")
        case RunCompleted() | RunFailed() | RunCancelled():
            state.end = event
        case _:
            assert_never(event)


def close(state: RunState, node_ids: Iterable[str], error: Fault | None, at: datetime) -> list[RunEvent]:
    """The events that end a run before its flow is through: `error` says why, None that it was cancelled.

    Nodes that are under way fail with code `cancelled`, nodes that never began are skipped, so that every node of
    the flow has its end. A run that has ended gets no events.
    """
    if state.end is not None:
        return []
    seq, run_id, events = state.seq, state.run_id, list[RunEvent]()
    for node_id in node_ids:
        node = state.nodes.get(node_id)
        if node is not None and not node.open:
            continue
        seq += 1
        if node is None:
            reason: Literal["run_failed", "run_cancelled"] = "run_failed" if error else "run_cancelled"
            events.append(NodeSkipped(seq=seq, run_id=run_id, at=at, node=node_id, data=SkippedData(reason=reason)))
        else:
            cut = Fault(code="cancelled", message="cut off by the end of the run", node=node_id)
            elapsed = seconds_between(node.started_at, at)
            data = FailedData(error=cut, duration_seconds=elapsed)
            events.append(NodeFailed(seq=seq, run_id=run_id, at=at, node=node_id, data=data))
    events.append(_end(state, seq + 1, error, at))
    return events


def _end(state: RunState, seq: int, error: Fault | None, at: datetime) -> RunEnd:
    elapsed = seconds_between(state.started_at, at)
    if error is None:
        ended = EndData(usage=state.usage, started_at=state.started_at, duration_seconds=elapsed)
        return RunCancelled(seq=seq, run_id=state.run_id, at=at, data=ended)
    failed = RunFailedData(usage=state.usage, started_at=state.started_at, duration_seconds=elapsed, error=error)
    return RunFailed(seq=seq, run_id=state.run_id, at=at, data=failed)


def requested_audience(requested: RequestedData) -> Audience | None:
    """Whom to tell of the end of a run that was ended from outside its flow: who asked for it, if they said where."""
    return Audience(callback_urls=(requested.callback_url,)) if requested.callback_url else None


def seconds_between(start: datetime | None, end: datetime) -> float:
    """Elapsed seconds to the microsecond; 0 without a start."""
    return 0.0 if start is None else round((end - start).total_seconds(), 6)


def run_of(state: RunState) -> Run:
    """The run as callers see it."""
    if state.end is not None:
        return ended_run(state.run_id, state.requested, state.requested_at, state.end)
    return Run(
        **_constant(state.run_id, state.requested, state.requested_at),
        status="queued" if state.started_at is None else "running",
        output=None,
        error=None,
        started_at=state.started_at,
        finished_at=None,
        duration_seconds=None,
        usage=state.usage,
    )


def ended_run(run_id: str, requested: RequestedData, requested_at: datetime, end: RunEnd) -> Run:
    """The run as callers see it, from its first and its last event alone."""
    match end:
        case RunCompleted():
            status: Status = "completed"
        case RunFailed():
            status = "failed"
        case RunCancelled():
            status = "cancelled"
        case _:
            assert_never(end)
    return Run(
        **_constant(run_id, requested, requested_at),
        status=status,
        output=end.data.output if isinstance(end, RunCompleted) else None,
        error=end.data.error if isinstance(end, RunFailed) else None,
        started_at=end.data.started_at,
        finished_at=end.at,
        duration_seconds=end.data.duration_seconds,
        usage=end.data.usage,
    )


def _constant(run_id: str, requested: RequestedData, requested_at: datetime) -> dict[str, Any]:
    return {
        "id": run_id,
        "flow_id": requested.flow_id,
        "deployment_id": requested.deployment_id,
        "version": requested.version,
        "input": requested.input,
        "session_id": requested.session_id,
        "metadata": requested.metadata,
        "created_at": requested_at,
    }
