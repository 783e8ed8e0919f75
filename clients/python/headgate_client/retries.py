"""When to try again: exponential backoff with jitter, unless the server says how long to wait."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime


@dataclass(frozen=True)
class RetryPolicy:
    """How often and for how long a call is tried again. `RetryPolicy(max_attempts=1)` never tries again.

    `total_seconds` counts from the first attempt: a pause that would end later is not begun, however long the
    server asked for (`Retry-After`), and the error is raised at once.
    """

    max_attempts: int = 5
    total_seconds: float = 120.0
    base_seconds: float = 0.25
    cap_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1 or min(self.total_seconds, self.base_seconds, self.cap_seconds) < 0:
            raise ValueError("a retry policy has at least one attempt and no negative time")

    def pause(self, attempt: int, elapsed: float, chance: float, retry_after: float | None = None) -> float | None:
        """Seconds before the attempt after number `attempt` (from 1); None: give up.

        `elapsed` is seconds since the first attempt, `chance` is random in [0, 1).
        """
        if attempt >= self.max_attempts:
            return None
        # Never earlier than the server asked, and not everybody at once.
        asked = None if retry_after is None else retry_after + chance * self.base_seconds
        seconds = self.backoff(attempt, chance) if asked is None else asked
        return seconds if elapsed + seconds <= self.total_seconds else None

    def backoff(self, attempt: int, chance: float) -> float:
        """Half of the step is fixed, half is chance, so that clients that failed together come back apart."""
        step = min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt - 1, 32))
        return step * (0.5 + chance / 2)


def read_retry_after(header: str | None, now: float) -> float | None:
    """Seconds from a `Retry-After` (RFC 9110, 10.2.3: seconds or a date); `now` is Unix time. None: unreadable."""
    text = (header or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
