"""This process's copy of all keys and workspaces, and how it, the other copies and the gateways' caches agree.

A change reaches a copy on three ways: its own write, the stream (complete and in order, however long it takes), and
the announcement of another auth process (at once). Sequences make the ways one: each change is taken once, and never
after a newer one. Every copy announces each change on `CHANGED` after it has taken it, before it answers anything
more from it. So whoever keeps an answer of ours hears, from the very process that gave it and later than the answer,
when it has ceased to be true. What could not be announced (the connection broke, the process died) is made up for
by an empty announcement, "anything may have changed", at every start and reconnect.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import msgspec
import structlog

from libs.events.auth_calls import CHANGED, Changed
from libs.events.broker import Broker, Msg, Unavailable
from libs.events.managed import Change, decode_change, record
from libs.events.pull import Delivery
from libs.events.subjects import MANAGEMENT, managed_filter
from libs.events.tail import Tail
from services.auth.directory import Directory
from services.auth.metrics import KEYS

log = structlog.get_logger()

_decoder = msgspec.json.Decoder(Changed)


class Replica:
    """Keeps a `Directory` up with the management stream, and writes changes to that stream."""

    def __init__(self, broker: Broker, directory: Directory) -> None:
        self.broker = broker
        self.directory = directory
        self._tail = Tail(
            broker, MANAGEMENT, [managed_filter("key"), managed_filter("workspace")], self._on_batch, latest_only=True
        )
        self._all_is_new = asyncio.Event()

    @property
    def caught_up(self) -> asyncio.Event:
        """Set once everything was read that was there at the start."""
        return self._tail.caught_up

    async def run(self) -> None:
        """Follow until cancelled."""
        subscription = await self.broker.subscribe(CHANGED, self._on_changed)
        self.broker.on_reconnect(self._all_is_new.set)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._tail.run())
                group.create_task(self._announce_all())
        finally:
            self.broker.forget_reconnect(self._all_is_new.set)
            await self.broker.unsubscribe(subscription)

    async def store(self, subject: str, change: Change, *, after: int) -> None:
        """Write a change; returns when it is on disk, taken here, and announced. Conflict, Unavailable."""
        sequence = await record(self.broker, subject, change, after=after)
        await self.take(subject, sequence, change)

    async def take(self, subject: str, sequence: int, change: Change) -> None:
        """Take a change that is on the stream, and announce it if it was new here."""
        if not self.directory.apply(subject, sequence, change):
            return
        KEYS.set(self.directory.size)
        if self.caught_up.is_set():
            await self._announce(Changed(subject=subject, sequence=sequence, change=change))

    async def _on_batch(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            try:
                change = decode_change(delivery.payload)
            except msgspec.DecodeError:
                log.warning("change not understood", subject=delivery.subject, sequence=delivery.sequence)
            else:
                await self.take(delivery.subject, delivery.sequence, change)

    async def _on_changed(self, message: Msg) -> None:
        try:
            changed = _decoder.decode(message.data)
        except msgspec.DecodeError:
            log.warning("announcement not understood")
            return
        if changed.subject is not None and changed.change is not None:
            await self.take(changed.subject, changed.sequence, changed.change)

    async def _announce_all(self) -> None:
        await self.caught_up.wait()
        self._all_is_new.set()
        while True:
            await self._all_is_new.wait()
            self._all_is_new.clear()
            await self._announce(Changed())

    async def _announce(self, changed: Changed) -> None:
        """Say it on core NATS. Where that fails the connection is down, and all is announced when it is back."""
        with suppress(Unavailable):
            await self.broker.publish(CHANGED, msgspec.json.encode(changed))
