"""Keeps a table up with the log.

One stream is read by one gateway at a time: whoever holds its advisory lock, on the very connection that writes, so
that a gateway which lost the lock cannot write. Rows and the position go into one transaction, so each message counts
once. A message that is read again after a crash changes nothing, and a position that somebody else has moved
(`positions`) is where reading goes on.

A transaction costs PostgreSQL and this process about the same for one message as for hundreds, so under load there are
few: after each one what comes is left to gather for half a second, unless a whole batch waits already or somebody waits
for the table. The first message after a pause is written at once. (Gathering for 50 ms took 18% of a busy gateway's
time, half a second takes 4%.) Nor does a transaction wait for the disk
(`synchronous_commit = off`): what a crash of PostgreSQL takes back, it takes back together with the position, and it
is read from the log again.
"""

import asyncio
import zlib
from collections.abc import Sequence
from contextlib import suppress

import asyncpg
import structlog

from libs.events.broker import Broker
from libs.events.pull import Delivery
from libs.events.subjects import HURRY
from libs.events.tail import Tail
from libs.runtime.postgres import Connection, Database
from services.gateway.read_models.positions import Moved, read_position, write_batch
from services.gateway.read_models.reading import Reading

_ASK_SECONDS = 1.0
_GATHER_SECONDS = 0.5
_FULL = 500
"""So many messages are a whole batch."""

AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises when the server goes away; the last, when it does in the middle of its answer."""

log = structlog.get_logger()


class Projector:
    """Does one reading of one stream. `run` lives until cancelled."""

    def __init__(self, broker: Broker, database: Database, reading: Reading, stream: str, subjects: str) -> None:
        self._broker = broker
        self._database = database
        self._reading = reading
        self._stream = stream
        self._subjects = subjects
        self._hurry = asyncio.Event()

    async def run(self) -> None:
        """Take the stream when it is free, project it, begin again when the connection breaks."""
        await self._database.ready.wait()
        subscription = await self._broker.hear(HURRY, lambda _: self._hurry.set())
        try:
            await self._keep_holding()
        finally:
            await self._broker.unsubscribe(subscription)

    async def _keep_holding(self) -> None:
        while True:
            try:
                await self._hold()
            except AWAY as error:
                # On its way out through a broken connection a cancellation becomes one of these errors.
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise asyncio.CancelledError from None
                log.warning("projection interrupted", stream=self._stream, reason=type(error).__name__)
            except Moved:
                log.info("projection goes on from elsewhere", reading=self._reading.name, stream=self._stream)
                continue
            await asyncio.sleep(_ASK_SECONDS)

    async def _hold(self) -> None:
        pool = self._database.pool
        if pool is None:
            return
        lock = zlib.crc32(f"{self._reading.name}/{self._stream}".encode())
        async with pool.acquire(timeout=5) as connection:
            if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock):
                return
            try:
                position = await read_position(connection, self._reading.name, self._stream)
                await self._follow(connection, position)
            finally:
                if not connection.is_closed():
                    await connection.execute("SELECT pg_advisory_unlock($1)", lock)

    async def _follow(self, connection: Connection, position: int) -> None:
        async def on_batch(deliveries: Sequence[Delivery]) -> None:
            nonlocal position
            self._hurry.clear()
            await write_batch(connection, self._reading, self._stream, deliveries, after=position)
            position = deliveries[-1].sequence
            if len(deliveries) < _FULL:
                await self._gather()

        await Tail(self._broker, self._stream, [self._subjects], on_batch, after=position).run()

    async def _gather(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_GATHER_SECONDS):
                await self._hurry.wait()
