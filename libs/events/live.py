"""What is stored now, as this process hears it: subscribed to once a run, however many of its readers follow it here.

Core NATS may lose messages, and what waits for a slow reader is bounded: this is no reading of the log but the
word that there is something to read, mostly with the text. `follow` makes a whole of it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from nats.aio.subscription import Subscription

from libs.events.broker import Broker
from libs.events.groups import entry_of, parts_of
from libs.events.run_events import Served, serve_append
from libs.events.subjects import RunKey, live_subject, shard_of, stored_subject
from libs.events.wire import Heard

_PENDING_MESSAGES = 256
_PENDING_BYTES = 128 * 1024
"""What waits for one reader. Beyond it the log is the better place to wait in: it is read again from there."""


class LiveAppend(msgspec.Struct, frozen=True, gc=False):
    """An append that was stored a moment ago: its place in its stream, its events as they are served, its size."""

    sequence: int
    events: list[Served]
    size: int


class Hearing:
    """What one reader has heard and not yet taken."""

    def __init__(self) -> None:
        self._appends: deque[LiveAppend | None] = deque()
        self._bytes = 0
        self._waiter: asyncio.Future[None] | None = None

    def put(self, append: LiveAppend) -> None:
        """One more; where too much waits already, only that something was missed."""
        if len(self._appends) >= _PENDING_MESSAGES or (self._bytes + append.size > _PENDING_BYTES and self._appends):
            self.miss()
            return
        self._bytes += append.size
        self._appends.append(append)
        self._wake()

    def miss(self) -> None:
        """Something may have been missed here: the log has to be read."""
        if not self._appends or self._appends[-1] is not None:
            self._appends.append(None)
        self._wake()

    async def next(self, seconds: float) -> LiveAppend | None:
        """The next append; None when something was missed before it, or after `seconds` without one."""
        if not self._appends:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_later(seconds, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        append = self._appends.popleft() if self._appends else None
        self._bytes -= append.size if append is not None else 0
        return append

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Interest:
    """A subscription, to what is appended to a run or to a group of runs, and its readers by run."""

    def __init__(self) -> None:
        self.readers: dict[RunKey, dict[Hearing, None]] = {}
        self.subscription: Subscription | None = None

    def on_message(self, message: Heard) -> None:
        """Hand on what a message says of each run. What cannot be read is in the log for whoever can."""
        try:
            sequence = int(message.headers["Nats-Sequence"])
            parts = parts_of(stored_subject(message.subject), message.data)
            appends = [
                (hearings, LiveAppend(sequence, serve_append(part.payload), len(part.payload)))
                for part in parts
                if (hearings := self.readers.get(part.run))
            ]
        except (KeyError, ValueError, msgspec.MsgspecError):
            self.miss()
            return
        for hearings, append in appends:
            for hearing in hearings:
                if append.events:
                    hearing.put(append)
                else:
                    hearing.miss()

    def miss(self) -> None:
        """All readers may have missed something."""
        for hearings in self.readers.values():
            for hearing in hearings:
                hearing.miss()


class Live:
    """The subscriptions of one connection, by subject, to a log of so many shards."""

    def __init__(self, broker: Broker, shards: int) -> None:
        self._broker = broker
        self._shards = shards
        self._interests: dict[str, _Interest] = {}

    @asynccontextmanager
    async def listen(self, run: RunKey) -> AsyncIterator[Hearing]:
        """What is heard of a run while the context is open, from before the server sees any later request."""
        hearing, shard = Hearing(), shard_of(run.run_id, self._shards)
        subjects = [live_subject(shard, place) for place in dict.fromkeys((entry_of(run), run))]
        begun: list[str] = []
        try:
            for subject in subjects:
                begun.append(subject)
                await self._begin(subject, run, hearing)
            yield hearing
        finally:
            for subject in begun:
                await self._end(subject, run, hearing)

    async def _begin(self, subject: str, run: RunKey, hearing: Hearing) -> None:
        if not self._interests:
            self._broker.on_reconnect(self._missed)
        interest = self._interests.get(subject)
        if interest is not None:
            interest.readers.setdefault(run, {})[hearing] = None
            return
        interest = self._interests[subject] = _Interest()
        interest.readers[run] = {hearing: None}
        interest.subscription = await self._broker.hear(subject, interest.on_message)

    async def _end(self, subject: str, run: RunKey, hearing: Hearing) -> None:
        interest = self._interests[subject]
        del interest.readers[run][hearing]
        if not interest.readers[run]:
            del interest.readers[run]
        if interest.readers:
            return
        del self._interests[subject]
        if not self._interests:
            self._broker.forget_reconnect(self._missed)
        if interest.subscription is not None:
            await self._broker.unsubscribe(interest.subscription)

    def _missed(self) -> None:
        for interest in self._interests.values():
            interest.miss()
