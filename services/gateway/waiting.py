"""Waiting for the end of a run: one subscription for all that this gateway waits for, by run id.

The executor sends the end here once it is stored. Core NATS may lose it (an executor may die between storing
and sending), so whoever has waited for a while asks the log.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from libs.events.broker import Broker, Msg, Unavailable
from libs.events.log import EventLog
from libs.events.run_events import RunCancelled, RunCompleted, RunEnd, RunFailed, decode_event, last_event
from libs.events.subjects import ANY, RunKey, answer_subject

_FIRST_LOOK_SECONDS = 1.0
_LOOK_SECONDS = 5.0


class Waiting:
    """The runs this gateway waits for. Made by `waiting`."""

    def __init__(self, log: EventLog, gateway: str) -> None:
        self.gateway = gateway
        self._log = log
        self._expected: dict[str, asyncio.Future[RunEnd]] = {}

    def expect(self, run: RunKey) -> bool:
        """Begin to listen for the run's end; said before the run is asked for, so that no answer is too early.

        False when somebody here does already: two calls with one `Idempotency-Key`.
        """
        if run.run_id in self._expected:
            return False
        self._expected[run.run_id] = asyncio.get_running_loop().create_future()
        return True

    def forget(self, run: RunKey) -> None:
        """Listen no more."""
        self._expected.pop(run.run_id, None)

    async def end(self, run: RunKey, seconds: float) -> RunEnd | None:
        """The end of a run that is expected, or None when `seconds` pass without it."""
        loop = asyncio.get_running_loop()
        future = self._expected[run.run_id]
        deadline = loop.time() + seconds
        look = _FIRST_LOOK_SECONDS
        try:
            while True:
                left = deadline - loop.time()
                done, _ = await asyncio.wait((future,), timeout=max(0.0, min(look, left)))
                if done:
                    return future.result()
                if (end := await self._look(run)) is not None or left <= look:
                    return end
                look = _LOOK_SECONDS
        finally:
            self.forget(run)

    async def _look(self, run: RunKey) -> RunEnd | None:
        try:
            stored = await self._log.end(run)
        except Unavailable:
            return None
        return None if stored is None else read_end(stored.payload)

    async def on_answer(self, message: Msg) -> None:
        """The subscriber of this gateway's answers."""
        future = self._expected.get(message.subject.rpartition(".")[2])
        event = decode_event(message.data)
        if future is not None and not future.done() and isinstance(event, RunCompleted | RunFailed | RunCancelled):
            future.set_result(event)


def read_end(payload: bytes) -> RunEnd | None:
    """The end in an append of kind `ended`."""
    event = last_event(payload)
    return event if isinstance(event, RunCompleted | RunFailed | RunCancelled) else None


@asynccontextmanager
async def waiting(broker: Broker, log: EventLog, gateway: str) -> AsyncIterator[Waiting]:
    """Listen for answers to this gateway."""
    waiters = Waiting(log, gateway)
    subscription = await broker.subscribe(answer_subject(gateway, ANY), waiters.on_answer)
    try:
        yield waiters
    finally:
        await broker.unsubscribe(subscription)
