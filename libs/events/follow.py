"""Follow a run: what is past and what comes, joined without gap or repeat.

Live messages come over core NATS, which may lose them; the log has them all. So listen first, then read, then pass
on what is heard as long as it continues the count; where it does not, or where nothing was heard for a while or the
connection was renewed, read again. Every stream of every dialect and the notifier's SSE read runs through here.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from libs.events.broker import Unavailable
from libs.events.live import LiveAppend
from libs.events.log import EventLog
from libs.events.reads import Stored
from libs.events.run_events import Served, serve_append
from libs.events.subjects import RunKey

SILENCE_SECONDS = 15.0
"""After so long without a message the log is asked whether one was missed."""

_FIRST_LOOK_SECONDS = 0.25
"""The same in the beginning, then twice as long each time: in a cluster the word that we listen reaches the stream's
leader a little later than the first read is answered, and what is stored between is not heard."""

_RETRY_SECONDS = 0.2

_PAGE_MESSAGES = 256
_PAGE_BYTES = 128 * 1024
"""What a follower holds of the past at a time, about: the next page is read when its reader has taken this one."""


class UnknownRun(Exception):
    """There is no such run in this workspace."""


async def follow(
    log: EventLog,
    run: RunKey,
    after: int = 0,
    silence_seconds: float = SILENCE_SECONDS,
    on_silence: Callable[[], Awaitable[None]] | None = None,
    first: Stored | None = None,
) -> AsyncGenerator[Served, None]:
    """The run's events with `seq` greater than `after`, each once and in order, until its last.

    `on_silence` is called after each `silence_seconds` without an event. `first` is the run's first message, for who
    has it already: it never changes. Raises UnknownRun when the run does not exist. While the log cannot be reached,
    waits. Who leaves early closes the iterator (`contextlib.aclosing`), for it listens until then.
    """
    loop = asyncio.get_running_loop()
    async with log.live.listen(run) as heard:
        reader = _Reader(log, run, after, first)
        look, quiet_since = _FIRST_LOOK_SECONDS, loop.time()
        events, has_more = await reader.catch_up()
        while True:
            for event in events:
                yield event
            if reader.ended:
                return
            if events:
                quiet_since = loop.time()
            elif loop.time() >= quiet_since + silence_seconds:
                quiet_since = loop.time()
                if on_silence is not None:
                    await on_silence()
            fresh = None
            if not has_more:
                patience = _RETRY_SECONDS if reader.behind else look
                append = await heard.next(min(patience, quiet_since + silence_seconds - loop.time()))
                look = min(2 * look, silence_seconds)
                fresh = reader.continue_with(append) if append is not None else None
            events, has_more = (fresh, False) if fresh is not None else await reader.catch_up()


class _Reader:
    """How far a follower has come: the last event's `seq`, and where in the stream it lies."""

    def __init__(self, log: EventLog, run: RunKey, after: int, first: Stored | None) -> None:
        self._log = log
        self._first = first
        self._run = run
        self._seq = after
        self._sequence = 0
        self._pending = 0
        self.behind = False
        """Whether the log could not be read when it had to be."""
        self.ended = False

    def continue_with(self, append: LiveAppend) -> list[Served] | None:
        """What is new in a live append; None when something before it was missed."""
        if append.events[0].seq > self._seq + 1:
            return None
        self.behind = False
        self._sequence = append.sequence
        return self._take(append.events)

    async def catch_up(self) -> tuple[list[Served], bool]:
        """The next of what the log has beyond what was seen, nothing while it cannot be reached; is there more?"""
        try:
            messages, has_more = await self._read()
        except Unavailable:
            self.behind = True
            return [], False
        self.behind = False
        fresh: list[Served] = []
        for message in messages:
            self._sequence = message.sequence
            fresh += self._take(serve_append(message.payload))
        return fresh, has_more

    def _take(self, events: list[Served]) -> list[Served]:
        fresh = [event for event in events if event.seq > self._seq]
        self.ended = self.ended or any(event.ends_run for event in events)
        if fresh:
            self._seq = fresh[-1].seq
        return fresh

    async def _read(self) -> tuple[list[Stored], bool]:
        """The run's messages after the last that was seen, by as little of the server's work as there is.

        It finds a run's last message at once, but looks through all that came after a place for the next one. So that
        is asked only where there are some, one first, and then for as many as it says that there are.
        """
        if not self._sequence:
            first = self._first or await self._log.first(self._run)
            if first is None:
                raise UnknownRun
            return [first], True
        if not self._pending:
            newest = await self._log.newest(self._run)
            if newest is None or newest.sequence <= self._sequence:
                return [], False
            if serve_append(newest.payload)[0].seq <= self._seq + 1:
                return [newest], False
        wanted = min(max(1, self._pending), _PAGE_MESSAGES)
        messages, self._pending = await self._log.part(self._run, self._sequence + 1, wanted, _PAGE_BYTES)
        if not messages:
            raise Unavailable
        return messages, self._pending > 0
