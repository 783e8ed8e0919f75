"""What is known of a run from its events so far: a fold, so that a stream that is resumed just goes on."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

_LONGEST_TEXT = 4000

NodeStatus = Literal["pending", "running", "finished", "failed", "skipped"]
_NODE_EVENTS: Mapping[str, NodeStatus] = {
    "node.started": "running",
    "node.finished": "finished",
    "node.failed": "failed",
    "node.skipped": "skipped",
}
ENDINGS = ("run.completed", "run.failed", "run.cancelled")


class RunEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a run, as the API sends it."""

    seq: int
    type: str
    run_id: str
    at: datetime
    node: str | None = None
    data: dict[str, Any] = {}


class NodeProgress(msgspec.Struct, frozen=True, kw_only=True):
    """One node's state; `text` is the end of what its model has said so far."""

    status: NodeStatus = "pending"
    started_at: datetime | None = None
    seconds: float | None = None
    text: str = ""
    note: str = ""


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A run's state; `nodes` by id, in the order of the flow, then of appearance."""

    run_id: str = ""
    seq: int = 0
    ending: str = ""
    nodes: dict[str, NodeProgress] = {}


def expected(nodes: Sequence[str]) -> Progress:
    """The state before the first event of a run of a flow with these nodes."""
    return Progress(nodes={node: NodeProgress() for node in nodes})


def evolve(progress: Progress, event: RunEvent) -> Progress:
    """The state after one more event; one seen before changes nothing."""
    if event.seq <= progress.seq:
        return progress
    nodes = progress.nodes
    if event.node is not None:
        before = nodes.get(event.node, NodeProgress())
        nodes = {**nodes, event.node: _evolve_node(before, event)}
    ending = event.type if event.type in ENDINGS else progress.ending
    return Progress(run_id=event.run_id, seq=event.seq, ending=ending, nodes=nodes)


def _evolve_node(before: NodeProgress, event: RunEvent) -> NodeProgress:
    replace = msgspec.structs.replace
    if event.type == "node.delta":
        return replace(before, text=(before.text + str(event.data.get("text") or ""))[-_LONGEST_TEXT:])
    if event.type == "node.retrying":
        return replace(before, text="", note=f"trying again, attempt {event.data.get('attempt', '?')}")
    status = _NODE_EVENTS.get(event.type)
    if status is None:
        return before
    if status == "running":
        return replace(before, status=status, started_at=event.at)
    seconds = (event.at - before.started_at).total_seconds() if before.started_at else None
    note = str(event.data.get("message") or "") if status == "failed" else ""
    return replace(before, status=status, seconds=seconds, note=note)
