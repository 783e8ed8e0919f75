"""What a node reads: the outputs before it, the run, the session."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The readable world of one attempt at one node.

    `outputs`: output by node id. `run`: `input` and other facts. `session`: there is none here, so no turns.
    `idempotency_key`: sent outward, constant for run and node. `deadline`: of the attempt, on the monotonic clock.
    """

    outputs: dict[str, Any]
    run: dict[str, Any]
    session: dict[str, Any]
    idempotency_key: str = ""
    deadline: float = math.inf


def first_scope(given: dict[str, Any]) -> Scope:
    """The scope that a run with this input begins with."""
    run = {
        "id": f"run_{uuid4().hex}",
        "flow_id": None,
        "deployment_id": None,
        "version": None,
        "session_id": None,
        "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "input": given,
        "metadata": {},
    }
    return Scope(outputs={}, run=run, session={"id": None, "turns": []})
