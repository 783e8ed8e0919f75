"""The ways in which Headgate tells the outside: one file each, and a line in `services/notifier/app.py`.

A channel composes what it sends from the run alone, so that the first attempt, the last one and one that is asked for a
year later send the same bytes. It makes one attempt at a time and says what came of it; when to try again, and
whether at all, is decided elsewhere for all of them.
"""

from typing import Protocol

import msgspec

from libs.events.deliveries import Delivery
from libs.events.run import Run
from libs.events.run_events import RunEvent


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What a delivery tells of: one event of a run, and the run as it was then."""

    run: Run
    event: RunEvent


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one attempt."""

    delivered: bool
    status: int | None = None
    """The receiver's status, if it answered: of HTTP, or of SMTP."""
    answer: str = ""
    """The first kilobyte of what it said."""
    error: str | None = None
    """Why it was not delivered, for people; no secret and no body in it."""
    final: bool = False
    """Whether trying again cannot help."""
    gone: bool = False
    """Whether the receiver wants no more of anything (410)."""
    retry_after_seconds: float | None = None
    """When the receiver wants to be asked again, if it said so."""


class Channel(Protocol):
    """One way out."""

    def lane(self, delivery: Delivery) -> str:
        """What shares a fate: deliveries of one lane are slow and fail together, those of others are not touched."""

    def compose(self, delivery: Delivery, story: Story | None) -> bytes:
        """What is sent; without a story it is a test."""

    async def send(self, delivery: Delivery, body: bytes) -> Outcome:
        """One attempt, bounded in time. It raises nothing but cancellation."""
