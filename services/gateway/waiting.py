"""Waiting for the end of a run: one subscription for all that this gateway waits for, by run id.

The executor sends the end here once it is stored. Core NATS may lose it (an executor may die between storing
and sending), so whoever has waited for a while asks the log.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import msgspec

from libs.events.broker import Broker, Unavailable
from libs.events.follow import follow
from libs.events.log import EventLog
from libs.events.run_events import (
    RunCancelled,
    RunCompleted,
    RunEnd,
    RunEvent,
    RunFailed,
    decode_event,
    decode_events,
    last_event,
)
from libs.events.subjects import ANY, RunKey, answer_subject, is_group
from libs.events.wire import Heard

_FIRST_LOOK_SECONDS = 1.0
_LOOK_SECONDS = 5.0


class _Expected(msgspec.Struct):
    """One run: whether it is settled, its end (None when callers are to wait no longer), and the calls that wait.

    Each call has a future of its own, for one that is cancelled takes what it waits for along.
    """

    settled: bool = False
    end: RunEnd | None = None
    calls: int = 0
    waiting: list[asyncio.Future[None]] = []

    def settle(self, end: RunEnd | None) -> None:
        """Let go of everybody."""
        self.settled, self.end = True, end
        for call in self.waiting:
            _wake(call)

    async def wait(self, seconds: float) -> bool:
        """Whether it is settled, once it is or `seconds` have passed."""
        loop = asyncio.get_running_loop()
        call = loop.create_future()
        self.waiting.append(call)
        timer = loop.call_later(seconds, _wake, call)
        try:
            await call
        finally:
            timer.cancel()
            self.waiting.remove(call)
        return self.settled


def _wake(call: asyncio.Future[None]) -> None:
    if not call.done():
        call.set_result(None)


class Waiting:
    """The runs this gateway waits for. Made by `waiting`."""

    def __init__(self, log: EventLog, gateway: str) -> None:
        self.gateway = gateway
        self._log = log
        self._expected: dict[str, _Expected] = {}
        self._following: set[asyncio.Timeout] = set()

    def expect(self, run: RunKey) -> None:
        """Begin to listen for the run's end; said before the run is asked for, so that no answer is too early.

        Calls with one `Idempotency-Key` expect the same run: each of them has to wait or forget.
        """
        expected = self._expected.get(run.run_id)
        if expected is None:
            expected = self._expected[run.run_id] = _Expected()
        expected.calls += 1

    def forget(self, run: RunKey) -> None:
        """Listen no more, unless for another call."""
        expected = self._expected[run.run_id]
        expected.calls -= 1
        if not expected.calls:
            del self._expected[run.run_id]

    def leave(self) -> None:
        """This process is about to end: let go of everybody who waits, while they can still be answered."""
        for expected in self._expected.values():
            if not expected.settled:
                expected.settle(None)
        for limit in self._following:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())

    async def end(self, run: RunKey, seconds: float) -> RunEnd | None:
        """The end of a run that is expected, or None when `seconds` pass without it."""
        loop = asyncio.get_running_loop()
        expected = self._expected[run.run_id]
        deadline = loop.time() + seconds
        look = _FIRST_LOOK_SECONDS
        try:
            while not expected.settled:
                left = deadline - loop.time()
                if await expected.wait(max(0.0, min(look, left))):
                    break
                if (end := await self._look(run)) is not None or left <= look:
                    return end
                look = _LOOK_SECONDS
            return expected.end
        finally:
            self.forget(run)

    async def end_of_earlier(self, run: RunKey, seconds: float) -> RunEnd | None:
        """The same for a run that another call asked for, perhaps elsewhere: nobody sends its end here."""
        limit = asyncio.timeout(seconds)
        self._following.add(limit)
        try:
            async with limit, aclosing(follow(self._log, run)) as events:
                async for _ in events:
                    pass
        except TimeoutError:
            return None
        finally:
            self._following.discard(limit)
        return await self._look(run)

    async def _look(self, run: RunKey) -> RunEnd | None:
        try:
            stored = await self._log.end(run)
        except Unavailable:
            return None
        return None if stored is None else read_end(stored.payload)

    def on_answer(self, message: Heard) -> None:
        """The listener for this gateway's answers."""
        if not is_group(message.subject.rpartition(".")[2]):
            self._settle(decode_event(message.data))
            return
        for end in decode_events(message.data):
            self._settle(end)

    def _settle(self, event: RunEvent | None) -> None:
        if not isinstance(event, RunCompleted | RunFailed | RunCancelled):
            return
        expected = self._expected.get(event.run_id)
        if expected is not None and not expected.settled:
            expected.settle(event)


def read_end(payload: bytes) -> RunEnd | None:
    """The end in an append of kind `ended`."""
    event = last_event(payload)
    return event if isinstance(event, RunCompleted | RunFailed | RunCancelled) else None


@asynccontextmanager
async def waiting(broker: Broker, log: EventLog, gateway: str) -> AsyncIterator[Waiting]:
    """Listen for answers to this gateway."""
    waiters = Waiting(log, gateway)
    subscription = await broker.hear(answer_subject(gateway, ANY), waiters.on_answer)
    try:
        yield waiters
    finally:
        await broker.unsubscribe(subscription)
