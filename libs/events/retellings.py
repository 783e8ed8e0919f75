"""Retellings: a wish that an append of a run be told again to whom it concerns. Names and fields are stored."""

import msgspec

KIND = "retelling"
"""The kind of timers by which one comes due, at once."""


class Retelling(msgspec.Struct, frozen=True, kw_only=True):
    """Which message of the log, and of which run in it; None: of all."""

    stream: str
    sequence: int
    run_id: str | None = None
