"""What the execution of a run says: each event it knows, put into the run's journal."""

from datetime import datetime
from typing import Any

import msgspec

from libs.events.run import seconds_between
from libs.events.run_events import (
    CompletedData,
    FailedData,
    Fault,
    FinishedData,
    NodeFailed,
    NodeFinished,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeStartedData,
    RetryingData,
    RunCompleted,
    RunStarted,
    SkippedData,
    StartedData,
    Usage,
)
from services.executor.journal import Journal, utc_now


def run_started(journal: Journal, executor: str) -> None:
    """Somebody works on the run for the first time."""
    data = StartedData(executor=executor)
    journal.add(lambda seq, run_id, at: RunStarted(seq=seq, run_id=run_id, at=at, data=data))


def node_started(journal: Journal, node_id: str, attempt: int = 1, until: datetime | None = None) -> None:
    """An attempt at a node begins; `until` for one that only waits."""
    data = NodeStartedData(attempt=attempt, until=until or msgspec.UNSET)
    journal.add(lambda seq, run_id, at: NodeStarted(seq=seq, run_id=run_id, at=at, node=node_id, data=data))


def node_retrying(journal: Journal, node_id: str, fault: Fault, retry_at: datetime) -> None:
    """The last attempt failed, and another is to come."""
    data = RetryingData(attempt=journal.state.nodes[node_id].attempt, error=fault, retry_at=retry_at)
    journal.add(lambda seq, run_id, at: NodeRetrying(seq=seq, run_id=run_id, at=at, node=node_id, data=data))


def node_finished(journal: Journal, node_id: str, output: bytes, usage: Usage | None) -> None:
    """A node gave its output, which is JSON already."""
    data = FinishedData(output=msgspec.Raw(output), duration_seconds=_elapsed(journal, node_id), usage=usage)
    journal.add(lambda seq, run_id, at: NodeFinished(seq=seq, run_id=run_id, at=at, node=node_id, data=data))


def node_failed(journal: Journal, node_id: str, fault: Fault, *, continued: bool) -> None:
    """A node's last attempt failed; `continued`: the run goes on."""
    data = FailedData(error=fault, duration_seconds=_elapsed(journal, node_id), continued=continued)
    journal.add(lambda seq, run_id, at: NodeFailed(seq=seq, run_id=run_id, at=at, node=node_id, data=data))


def node_skipped(journal: Journal, node_id: str) -> None:
    """No edge into a node was taken."""
    journal.add(lambda seq, run_id, at: NodeSkipped(seq=seq, run_id=run_id, at=at, node=node_id, data=SkippedData()))


def run_completed(journal: Journal, output: Any) -> None:
    """The run has its output."""
    state, encoded = journal.state, msgspec.Raw(msgspec.json.encode(output))
    journal.add(
        lambda seq, run_id, at: RunCompleted(
            seq=seq,
            run_id=run_id,
            at=at,
            data=CompletedData(
                output=encoded,
                usage=state.usage,
                started_at=state.started_at,
                duration_seconds=seconds_between(state.started_at, at),
            ),
        )
    )


def _elapsed(journal: Journal, node_id: str) -> float:
    return seconds_between(journal.state.nodes[node_id].started_at, utc_now())
