"""What an executor has to say about a run and has not yet said: events gather here and go out in few appends.

Appends of one run follow each other, one in flight at a time; what gathers meanwhile goes out together. Whoever
needs something to be on the log before going on (a node with effects) waits for `flush`.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from libs.events.log import EventLog
from libs.events.run import RunState, evolve
from libs.events.run_events import TERMINAL, Append, Audience, RunEvent
from libs.events.subjects import Kind, RunKey
from services.executor.masking import Mask
from services.executor.watching import Watch


def utc_now() -> datetime:
    """The time of an event."""
    return datetime.now(UTC)


class Journal:
    """The pending events of one run. `sequence` is where the run's last message lies in its stream."""

    def __init__(
        self,
        log: EventLog,
        run: RunKey,
        state: RunState,
        sequence: int,
        executor: str,
        trace: str | None,
        mask: Mask,
        watch: Watch | None = None,
    ) -> None:
        self.state = state
        self.mask = mask
        self.audience: Audience | None = None
        """Whom the run's end is to be told to; it is stored with the end."""
        self._log = log
        self._run = run
        self._sequence = sequence
        self._executor = executor
        self._watch = watch
        self._trace = trace
        self._pending: list[RunEvent] = []
        self._stored_seq = state.seq
        self._appending: asyncio.Task[None] | None = None
        """A failed append stays here: after it the run is not ours, and every flush says so."""

    def add(self, make: Callable[[int, str, datetime], RunEvent]) -> RunEvent:
        """Say one more thing: `make(seq, run_id, at)` is the event."""
        event = make(self.state.seq + 1, self._run.run_id, utc_now())
        self.extend([event])
        return event

    def extend(self, events: list[RunEvent]) -> None:
        """Say what was decided elsewhere; the events continue the count. No secret passes here."""
        for event in map(self.mask.event, events):
            evolve(self.state, event)
            self._pending.append(event)
            if self._watch is not None:
                self._watch.saw(event)

    async def flush(self) -> None:
        """Return when everything said so far is on the log. Conflict when the run is not ours any more.

        An append goes on when the one who waits for it is cancelled: others wait for it too, and half an append
        would be one whose fate nobody knows.
        """
        wanted = self.state.seq
        while self._stored_seq < wanted:
            if self._appending is None:
                self._appending = asyncio.create_task(self._append_pending())
                self._appending.add_done_callback(_asked)
            await asyncio.shield(self._appending)

    async def close(self) -> None:
        """Wait for an append that is still under way, whatever becomes of it."""
        if self._appending is not None:
            await asyncio.wait((self._appending,))

    async def _append_pending(self) -> None:
        events, self._pending = self._pending, []
        kind = Kind.ENDED if _type(events[-1]) in TERMINAL else Kind.PROGRESS
        audience = self.audience if kind is Kind.ENDED else None
        append = Append(by=self._executor, events=events, trace=self._trace, audience=audience)
        self._sequence = await self._log.append(self._run, kind, append, after=self._sequence, patience_seconds=60.0)
        self._stored_seq = events[-1].seq
        self._appending = None


def _asked(appending: asyncio.Task[None]) -> None:
    """Ask for its failure: where everybody who waited for it was cancelled, it would be told as a defect of ours."""
    if not appending.cancelled():
        appending.exception()


def _type(event: RunEvent) -> str:
    return str(type(event).__struct_config__.tag)
