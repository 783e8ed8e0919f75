"""What calls answer. Each result keeps the server's own JSON as `raw`, for what has no field here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headgate_client.errors import HeadgateError, RunFailed

ENDINGS = {"run.completed": "completed", "run.failed": "failed", "run.cancelled": "cancelled"}
"""The types of a run's last event, each with the status that the run has then."""


@dataclass(frozen=True)
class Usage:
    """What models cost: tokens, and US dollars."""

    input_tokens: int
    output_tokens: int
    cost_usd: float


@dataclass(frozen=True)
class RunError:
    """Why a run failed: a stable code, a sentence, and the node, if it was one."""

    code: str
    message: str
    node: str | None


@dataclass(frozen=True)
class Run:
    """A run as it was when asked for. `status`: queued, running, completed, failed or cancelled."""

    id: str
    status: str
    output: Any
    error: RunError | None
    usage: Usage
    session_id: str | None
    metadata: Mapping[str, Any]
    raw: Mapping[str, Any]

    @property
    def ended(self) -> bool:
        """Whether nothing of it can change any more."""
        return self.status in ENDINGS.values()

    def raise_for_status(self) -> Run:
        """The run itself; RunFailed if it failed or was cancelled."""
        if self.status not in ("failed", "cancelled"):
            return self
        code, message = (self.error.code, self.error.message) if self.error else (self.status, f"It was {self.status}.")
        raise RunFailed(code, f"{self.id}: {message}", run_id=self.id, run=self)


@dataclass(frozen=True)
class Event:
    """A fact about a run. `seq` counts 1, 2, 3 … within it; `type` may be one that this client does not know."""

    seq: int
    type: str
    run_id: str
    at: str
    node: str | None
    data: Mapping[str, Any]
    raw: Mapping[str, Any]

    @property
    def ends_run(self) -> bool:
        """Whether it is the run's last."""
        return self.type in ENDINGS


@dataclass(frozen=True)
class Batch:
    """Runs that were asked for together, in the order of their inputs: ids and statuses; `get_run` has the outputs."""

    id: str
    runs: tuple[Run, ...]
    raw: Mapping[str, Any]

    @property
    def ended(self) -> bool:
        """Whether each of its runs has."""
        return all(run.ended for run in self.runs)


@dataclass(frozen=True)
class FlowResult:
    """What `run_flow` answers. `metadata` has `duration` (seconds) and `tokens_used`."""

    output: Any
    session_id: str | None
    metadata: Mapping[str, Any]
    raw: Mapping[str, Any]


def read_run(body: Any) -> Run:
    """The run in a run object of the API."""
    with_id = _object(body, "id", "status")
    error = with_id.get("error")
    usage = with_id.get("usage") or {}
    return Run(
        id=with_id["id"],
        status=with_id["status"],
        output=with_id.get("output"),
        error=RunError(error.get("code", ""), error.get("message", ""), error.get("node")) if error else None,
        usage=Usage(usage.get("input_tokens", 0), usage.get("output_tokens", 0), usage.get("cost_usd", 0.0)),
        session_id=with_id.get("session_id"),
        metadata=with_id.get("metadata") or {},
        raw=with_id,
    )


def read_event(body: Any) -> Event:
    """The event in the data of a frame."""
    fact = _object(body, "seq", "type", "run_id")
    return Event(
        seq=fact["seq"],
        type=fact["type"],
        run_id=fact["run_id"],
        at=fact.get("at", ""),
        node=fact.get("node"),
        data=fact.get("data") or {},
        raw=fact,
    )


def read_batch(body: Any) -> Batch:
    """The batch in the answer to either of its calls."""
    found = _object(body, "batch_id", "runs")
    return Batch(id=found["batch_id"], runs=tuple(read_run(run) for run in found["runs"]), raw=found)


def read_flow_result(body: Any) -> FlowResult:
    """The result in Langflow's shape."""
    found = _object(body, "result")
    output = _object(found["result"], "output")["output"]
    return FlowResult(output, found.get("session_id"), found.get("metadata") or {}, found)


def _object(body: Any, *names: str) -> Mapping[str, Any]:
    """The body if it is an object that has these. HeadgateError `unexpected_answer` otherwise."""
    if not isinstance(body, dict) or any(name not in body for name in names):
        raise HeadgateError(200, "unexpected_answer", f"the server's answer has no {' and '.join(names)}")
    return body
