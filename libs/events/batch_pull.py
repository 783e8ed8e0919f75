"""Batches of a JetStream consumer that nobody else pulls from: all that is there, when its reader wants more.

While the reader is busy, or lets messages gather, nothing is asked for: the server then does next to nothing for this
consumer when a message is stored, and later sends hundreds in a row. Only a reader that has everything waits at the
server, for one message. A message that does not arrive is noticed by its number among the consumer's deliveries.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from libs.events.broker import Broker
from libs.events.pull import Delivery, Lost, read_delivery
from libs.events.wire import Heard

_BATCH = 512
_MAX_BYTES = 64 * 1024 * 1024
_EXPIRES_SECONDS = 20.0
_HEARTBEAT_SECONDS = 1.0
_SILENCE_SECONDS = 3 * _HEARTBEAT_SECONDS
"""After so long without a word the server has forgotten what it was asked, or the consumer."""

_OVER = frozenset({"404", "408"})
"""No messages; the pull's time is over."""


class BatchPull:
    """Made by `batches_of`."""

    def __init__(self, broker: Broker, stream: str, consumer: str) -> None:
        self._broker = broker
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self.inbox = broker.new_inbox()
        self._pulls = 0
        self._wanted = 0
        self._found: list[Delivery] = []
        self._seen = 0
        self._over = asyncio.Event()
        self._word = asyncio.Event()
        self._lost: str | None = None
        self._may_have_more = True

    async def next(self) -> list[Delivery]:
        """What is there, oldest first, up to 512 messages; waits until there is one.

        Lost where the consumer, or a message of it, is gone; Unavailable while the server is.
        """
        if self._may_have_more:
            found = await self._pull({"batch": _BATCH, "max_bytes": _MAX_BYTES, "no_wait": True}, _BATCH)
            self._may_have_more = bool(found)
            if found:
                return found
        times = {"expires": int(_EXPIRES_SECONDS * 1e9), "idle_heartbeat": int(_HEARTBEAT_SECONDS * 1e9)}
        while not (found := await self._pull({"batch": 1, **times}, 1)):
            pass
        self._may_have_more = True
        return found

    async def _pull(self, body: dict[str, int], wanted: int) -> list[Delivery]:
        self._pulls += 1
        self._wanted, self._found = wanted, []
        self._over.clear()
        await self._broker.publish_with_reply(self._subject, msgspec.json.encode(body), f"{self.inbox}.{self._pulls}")
        while not self._over.is_set():
            self._word.clear()
            try:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    await self._word.wait()
            except TimeoutError:
                self.give_up("the server is silent")
        if self._lost is not None:
            raise Lost(self._lost)
        return self._found

    def heard(self, message: Heard) -> None:
        """The inbox's listener."""
        if not message.reply and message.has_status:
            self._on_status(int(message.subject.rpartition(".")[2]), message.headers)
        else:
            delivery = read_delivery(message)
            self._seen = delivery.consumer_sequence
            self._found.append(delivery)
            if len(self._found) == self._wanted:
                self._over.set()
        self._word.set()

    def give_up(self, reason: str) -> None:
        """The consumer has to be made anew: `next` raises."""
        self._lost = reason
        self._over.set()
        self._word.set()

    def _on_status(self, pull: int, headers: dict[str, str]) -> None:
        status, description = headers["Status"], headers.get("Description", "")
        if status == "100":
            if int(headers.get("Nats-Last-Consumer", "0")) > self._seen:
                self.give_up("a delivery was lost")
        elif pull == self._pulls and (status in _OVER or "MaxBytes" in description):
            self._over.set()
        elif pull == self._pulls and description != "Batch Completed":
            self.give_up(f"{status} {description}")


@asynccontextmanager
async def batches_of(broker: Broker, stream: str, consumer: str) -> AsyncIterator[BatchPull]:
    """Pull from a consumer; after a reconnect it is given up, for what was on its way is lost."""
    pull = BatchPull(broker, stream, consumer)
    subscription = await broker.hear(f"{pull.inbox}.*", pull.heard)

    def renewed() -> None:
        pull.give_up("the connection was renewed")

    broker.on_reconnect(renewed)
    try:
        yield pull
    finally:
        broker.forget_reconnect(renewed)
        await broker.unsubscribe(subscription)
