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
    """The readers of a run, and the subscriptions for them: to what is appended to it, and to its group."""

    def __init__(self, run: RunKey) -> None:
        self.run = run
        self.readers: dict[Hearing, None] = {}
        self.subscriptions: list[Subscription] = []

    def on_message(self, message: Heard) -> None:
        """Hand on what a message says of the run. What cannot be read is in the log for whoever can."""
        try:
            sequence = int(message.headers["Nats-Sequence"])
            parts = list(parts_of(stored_subject(message.subject), message.data))
            appends = [(serve_append(part.payload), len(part.payload)) for part in parts if part.run == self.run]
        except (KeyError, ValueError, msgspec.MsgspecError):
            appends = [([], 0)]
        for events, size in appends:
            if not events:
                self.miss()
                return
            append = LiveAppend(sequence, events, size)
            for hearing in self.readers:
                hearing.put(append)

    def miss(self) -> None:
        """All readers may have missed something."""
        for hearing in self.readers:
            hearing.miss()


class Live:
    """The runs that are followed over one connection to a log of so many shards."""

    def __init__(self, broker: Broker, shards: int) -> None:
        self._broker = broker
        self._shards = shards
        self._interests: dict[RunKey, _Interest] = {}

    @asynccontextmanager
    async def listen(self, run: RunKey) -> AsyncIterator[Hearing]:
        """What is heard of a run while the context is open, from before the server sees any later request."""
        hearing = Hearing()
        interest = self._interests.get(run)
        is_new = interest is None
        if interest is None:
            if not self._interests:
                self._broker.on_reconnect(self._missed)
            interest = self._interests[run] = _Interest(run)
        interest.readers[hearing] = None
        try:
            if is_new:
                shard = shard_of(run.run_id, self._shards)
                for place in {run, entry_of(run)}:
                    subject = live_subject(shard, place)
                    interest.subscriptions.append(await self._broker.hear(subject, interest.on_message))
            yield hearing
        finally:
            del interest.readers[hearing]
            if not interest.readers:
                await self._end(interest)

    async def _end(self, interest: _Interest) -> None:
        del self._interests[interest.run]
        if not self._interests:
            self._broker.forget_reconnect(self._missed)
        for subscription in interest.subscriptions:
            await self._broker.unsubscribe(subscription)

    def _missed(self) -> None:
        for interest in self._interests.values():
            interest.miss()
