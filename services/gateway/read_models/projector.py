"""Keeps a table up with the log.

One stream is read by one gateway at a time: whoever holds its advisory lock, on the very connection that writes, so
that a gateway which lost the lock cannot write. Rows and the position go into one transaction, so each message counts
once. A message that is read again after a crash changes nothing.

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
from pathlib import Path
from typing import Protocol

import asyncpg
import structlog

from libs.events.broker import Broker
from libs.events.pull import Delivery
from libs.events.subjects import HURRY
from libs.events.tail import Tail
from libs.runtime.postgres import Connection, Database
from libs.runtime.sql import read_queries

_ASK_SECONDS = 1.0
_GATHER_SECONDS = 0.5
_FULL = 500
"""So many messages are a whole batch."""

AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises when the server goes away; the last, when it does in the middle of its answer."""

log = structlog.get_logger()


class Reading(Protocol):
    """What is made of messages: a file, and a line in `services/gateway/read_models/__init__.py`."""

    name: str
    """Under which its places are kept. A promise: under another name everything is read again."""

    def streams(self, shards: int) -> dict[str, str]:
        """The streams that it reads, each with the subjects of it."""

    async def write(self, connection: Connection, deliveries: Sequence[Delivery]) -> None:
        """Write what the messages of one stream say, in order, within a transaction."""


class Projector:
    """Does one reading of one stream. `run` lives until cancelled."""

    def __init__(self, broker: Broker, database: Database, reading: Reading, stream: str, subjects: str) -> None:
        self._broker = broker
        self._database = database
        self._reading = reading
        self._stream = stream
        self._subjects = subjects
        self._sql = read_queries(Path(__file__).with_name("positions.sql"))
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
                position = await connection.fetchval(self._sql["read_position"], self._reading.name, self._stream)
                await self._follow(connection, position)
            finally:
                if not connection.is_closed():
                    await connection.execute("SELECT pg_advisory_unlock($1)", lock)

    async def _follow(self, connection: Connection, position: int) -> None:
        async def on_batch(deliveries: Sequence[Delivery]) -> None:
            self._hurry.clear()
            await self._write(connection, deliveries)
            if len(deliveries) < _FULL:
                await self._gather()

        await Tail(self._broker, self._stream, [self._subjects], on_batch, after=position).run()

    async def _gather(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_GATHER_SECONDS):
                await self._hurry.wait()

    async def _write(self, connection: Connection, deliveries: Sequence[Delivery]) -> None:
        async with connection.transaction():
            await connection.execute(self._sql["commit_without_waiting"])
            await self._reading.write(connection, deliveries)
            place = deliveries[-1].sequence
            await connection.execute(self._sql["write_position"], self._reading.name, self._stream, place)
