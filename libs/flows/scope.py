"""What a node may read while it runs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """The readable world of one node in one run; the executor makes it, nodes never change it.

    `outputs`: output by node id, of every node settled so far (a skipped or unsettled one is absent or null).
    `run`: facts of the run, `input` (the validated input) among them, read as `{{ run.… }}`.
    `session`: facts of the session, `turns` ([{"input", "output"}], oldest first) among them.
    `secrets`: value by name, at least those that `CompiledFlow.secrets` lists.
    `idempotency_key`: constant for the run and node over all attempts; sent outward by nodes with effects.
    `now`: the time of this attempt, with its zone; nodes have no clock of their own.
    """

    outputs: dict[str, Any]
    run: dict[str, Any]
    session: dict[str, Any]
    secrets: Mapping[str, str]
    idempotency_key: str
    now: datetime
