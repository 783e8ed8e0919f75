"""What a fault is, and what came of it."""

from collections.abc import Awaitable, Callable

import msgspec

from chaos.stage import Stage


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """`strike(stage, nth)` injects it once, says `stage.strike()` at that moment, and returns when the next may come.

    `times` and `runs` are the counts of the long form. `counts` says how many of each service the stack has.
    """

    name: str
    says: str
    times: int
    runs: int
    strike: Callable[[Stage, int], Awaitable[None]]
    counts: dict[str, int] = {}
    env: dict[str, str] = {}
    orderly: bool = False
    """Whether a call that was taken has to be answered, and not broken off."""
    cluster: bool = False
    """Played on a NATS cluster of three instead of one server."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table. The sentences say what was lost, doubled or wrong."""

    name: str
    says: str
    times: int
    runs: int
    lost: list[str]
    doubled: list[str]
    wrong: list[str]
    recovery_seconds: float
    seconds: float
    retries: dict[str, int]
    """Why callers had to ask again, and how often."""

    @property
    def clean(self) -> bool:
        """Whether everything was as promised."""
        return not (self.lost or self.doubled or self.wrong)
