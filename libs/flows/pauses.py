"""How long a node may let time pass."""

import math
from typing import Any

from libs.runtime.failures import Terminal

MAX_PAUSE_SECONDS = 604_800
"""A week: no run may take longer."""


def pause_seconds(value: Any) -> float:
    """The seconds that a number, or a text of one, says. `Terminal` "node_failed" where it says none to wait for."""
    seconds = -1.0
    if isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except (ValueError, OverflowError):
            seconds = -1.0
    if not math.isfinite(seconds) or not 0 <= seconds <= MAX_PAUSE_SECONDS:
        raise Terminal("node_failed", f"seconds must be a number from 0 to {MAX_PAUSE_SECONDS}")
    return seconds
