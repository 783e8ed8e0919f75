"""Read a stream from a place on, in order and without a gap: first what is there, then what comes.

For readers that keep their own place (read models, registries): no acknowledgements, one ephemeral consumer a
reader, made again where the last one was lost or had a gap.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import structlog

from libs.events.batch_pull import batches_of
from libs.events.broker import Broker, Unavailable
from libs.events.pull import Delivery, Lost
from libs.events.topology import ApiError, api

log = structlog.get_logger()

OnBatch = Callable[[Sequence[Delivery]], Awaitable[None]]


class _Consumer(msgspec.Struct, frozen=True):
    name: str = ""
    num_pending: int = 0
    error: ApiError | None = None


class Tail:
    """Calls `on_batch` with the messages that match, oldest first, 1 to 512 at a time, for ever.

    Each message once, unless `on_batch` raises Unavailable: then the batch comes again.

    `latest_only`: begin with the last message of each subject instead of all from `after` on.
    `caught_up` is set once everything was handled that was there when reading began.
    """

    def __init__(
        self,
        broker: Broker,
        stream: str,
        filters: Sequence[str],
        on_batch: OnBatch,
        *,
        after: int = 0,
        latest_only: bool = False,
    ) -> None:
        self._broker = broker
        self._stream = stream
        self._filters = list(filters)
        self._on_batch = on_batch
        self._latest_only = latest_only
        self.position = after
        """Stream sequence of the last message that was handled."""
        self.caught_up = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled. What `on_batch` raises ends it: nothing may be passed over."""
        while True:
            try:
                await self._read()
            except (Lost, Unavailable) as error:
                log.info("reading again", stream=self._stream, after=self.position, reason=str(error))
                await asyncio.sleep(0.1)

    async def _read(self) -> None:
        consumer = await self._make_consumer()
        handled = 0
        async with batches_of(self._broker, self._stream, consumer.name) as pull:
            while True:
                if handled >= consumer.num_pending:
                    self.caught_up.set()
                batch = await pull.next()
                if any(delivery.consumer_sequence != handled + i for i, delivery in enumerate(batch, 1)):
                    raise Lost("a delivery was lost")
                await self._on_batch(batch)
                handled += len(batch)
                self.position = batch[-1].sequence

    async def _make_consumer(self) -> _Consumer:
        config: dict[str, Any] = {
            "filter_subjects": self._filters,
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(60e9),
        }
        if self._latest_only and not self.position:
            config["deliver_policy"] = "last_per_subject"
        else:
            config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": self.position + 1}
        body = {"stream_name": self._stream, "config": config}
        consumer = await api(self._broker, f"CONSUMER.CREATE.{self._stream}", body, _Consumer)
        if consumer.error is not None:
            raise Unavailable(consumer.error.description)
        return consumer


class _Reached(Exception):
    """The end of what was asked for."""


async def read_until(
    broker: Broker, stream: str, filters: Sequence[str], on_batch: OnBatch, *, after: int, until: int
) -> None:
    """Hand on, as a Tail does, what lies behind stream sequence `after` up to `until`, and return."""

    async def within(deliveries: Sequence[Delivery]) -> None:
        wanted = [delivery for delivery in deliveries if delivery.sequence <= until]
        if wanted:
            await on_batch(wanted)
        if deliveries[-1].sequence >= until:
            raise _Reached

    if after >= until:
        return
    tail = Tail(broker, stream, filters, within, after=after)
    reading, caught_up = asyncio.create_task(tail.run()), asyncio.create_task(tail.caught_up.wait())
    try:
        await asyncio.wait((reading, caught_up), return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            reading.result()
    except _Reached:
        return
    finally:
        reading.cancel()
        caught_up.cancel()
        await asyncio.gather(reading, caught_up, return_exceptions=True)
