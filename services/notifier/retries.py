"""When to try again, and when to stop. Pure: an outcome, a clock and a random number in, a verdict out.

The schedule is the example of the Standard Webhooks specification: ten attempts over 75 hours, each pause up to a tenth
longer than it says, so that what failed together does not come back together.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from services.notifier.channels import Outcome

SCHEDULE_SECONDS = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""The pause before each attempt, the first one's included."""

_JITTER = 0.1
_MAX_PAUSE_SECONDS = 86_400.0


def next_attempt(
    schedule: Sequence[float], attempts: int, outcome: Outcome, now: datetime, chance: float
) -> datetime | None:
    """When the next attempt is due after `attempts` of them, the last with `outcome`; None: there is none.

    `chance` is a number from 0 to 1. What the receiver asked for is waited for, up to a day.
    """
    if outcome.delivered or outcome.final or outcome.gone or attempts >= len(schedule):
        return None
    pause = schedule[attempts] * (1 + _JITTER * chance)
    return now + timedelta(seconds=max(pause, min(outcome.retry_after_seconds or 0.0, _MAX_PAUSE_SECONDS)))


def read_schedule(text: str) -> tuple[float, ...]:
    """The schedule in a setting, comma-separated seconds; empty: the one above. ValueError when it is none."""
    if not text.strip():
        return SCHEDULE_SECONDS
    pauses = tuple(float(part) for part in text.split(","))
    if not 1 <= len(pauses) <= 100 or not all(0 <= pause <= 30 * _MAX_PAUSE_SECONDS for pause in pauses):
        raise ValueError("HEADGATE_DELIVERY_SCHEDULE takes 1 to 100 numbers of seconds, such as 0,5,300")
    return pauses
