"""The roll: every service process answers when it is called, so that a person can be told who is there.

Asked on core NATS, where nothing is kept: who does not answer in time is not there, or cannot be reached.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version

import msgspec

from libs.events.broker import Broker, Msg, Unavailable
from libs.events.subjects import ROLL
from libs.runtime.health import Readiness
from libs.runtime.settings import Settings

_PENDING = 1000


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """One process. `missing`: what it still waits for before it is ready, `draining` when it is about to leave."""

    service: str
    index: int
    instance: str
    version: str
    started_at: datetime
    missing: list[str]


_decoder = msgspec.json.Decoder(Present)


@asynccontextmanager
async def answering(broker: Broker, settings: Settings, readiness: Readiness) -> AsyncIterator[None]:
    """Answer the roll for this process, for as long as the context is open."""
    running, started_at = version("headgate"), datetime.now(UTC)

    def present() -> Present:
        return Present(
            service=settings.service,
            index=settings.index,
            instance=settings.instance,
            version=running,
            started_at=started_at,
            missing=readiness.missing(),
        )

    async def on_call(message: Msg) -> None:
        if message.reply:
            try:
                await broker.publish(message.reply, msgspec.json.encode(present()))
            except Unavailable:
                return

    subscription = await broker.subscribe(ROLL, on_call)
    try:
        yield
    finally:
        await broker.unsubscribe(subscription)


async def call_roll(broker: Broker, seconds: float = 0.5) -> list[Present]:
    """Who answers within `seconds`, by service and index. Unavailable without a connection."""
    inbox = broker.new_inbox()
    found: list[Present] = []
    async with broker.listen(f"{inbox}.*", _PENDING) as queue:
        await broker.publish_with_reply(ROLL, b"", f"{inbox}.0")
        try:
            async with asyncio.timeout(seconds):
                while (message := await queue.get()) is not None:
                    found.append(_decoder.decode(message.data))
        except TimeoutError:
            pass
    return sorted(found, key=lambda each: (each.service, each.index, each.instance))
