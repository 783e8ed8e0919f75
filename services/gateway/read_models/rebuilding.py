"""Makes the tables of all readings anew from the log, beside those in use, and puts them in their place.

Gateways go on reading and writing the old tables until the new ones, in a PostgreSQL schema of their own, have come
as far. Then one transaction holds the writers up (readers are not disturbed), reads to exactly where the old tables
stand, compares the two by their digests, and swaps tables and positions. A gateway's projector finds at its next batch
that its position has moved, or that it has not, and goes on from there either way (`positions`).

The new tables are made by this version's migrations, so a version that wants more of the log in its tables makes them
by this while the one before goes on serving. Old tables that do not keep up (they were emptied, say) are not waited
for: the new ones are then as far as the log is.

What stops it halfway stops it before the swap: the next one throws away what it left.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import asyncpg
import msgspec

from libs.events.broker import Broker, Unavailable
from libs.events.pull import Delivery
from libs.events.tail import read_until
from libs.events.topology import ApiError, api
from libs.runtime.postgres import Connection, mark_applied
from services.gateway.read_models.digests import Digest, digest_of
from services.gateway.read_models.positions import list_positions, read_position, write_batch
from services.gateway.read_models.reading import Reading

BESIDE = "headgate_beside"
"""The PostgreSQL schema of tables that are being made."""

_LOCK = zlib.crc32(b"projections rebuild")
_NEAR = 2_000
"""So many messages are read while writers wait."""

_KEEPS_UP = 10_000
"""A table that is so many messages behind the log is waited for by nobody."""

_COMMAND_SECONDS = 60.0

OnProgress = Callable[[int, int], None]
"""Called with how many messages were read, and how many there are."""


class RebuildRefused(Exception):
    """The tables cannot be made anew, and are as they were; the message says why."""


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What the tables hold now. `before`: the digest of those they replace, where these stood at the same place."""

    digest: str
    before: str | None
    rows: dict[str, int]
    messages: int


class _Feed(msgspec.Struct, frozen=True):
    """One reading of one stream."""

    reading: Reading
    stream: str
    subjects: str


class _Place(msgspec.Struct, frozen=True):
    first_seq: int = 0
    last_seq: int = 0


class _StreamInfo(msgspec.Struct, frozen=True):
    state: _Place = _Place()
    error: ApiError | None = None


async def rebuild(
    broker: Broker,
    shards: int,
    dsn: str,
    schema: dict[str, str],
    readings: Sequence[Reading],
    on_progress: OnProgress = lambda read, of: None,
) -> Rebuilt:
    """Rebuild all `readings` in the tables that `schema` (migrations by name) makes. RebuildRefused; Unavailable."""
    async with _pool(dsn) as live, _pool(dsn, search_path=BESIDE) as beside, live.acquire() as control:
        if not await control.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
            raise RebuildRefused("another rebuild is under way")
        feeds = [
            _Feed(reading, stream, subjects)
            for reading in readings
            for stream, subjects in reading.streams(shards).items()
        ]
        await control.execute(f"DROP SCHEMA IF EXISTS {BESIDE} CASCADE")
        await control.execute(f"CREATE SCHEMA {BESIDE}")
        async with beside.acquire() as connection:
            for _, text in sorted(schema.items()):
                await connection.execute(text)
        return await _Rebuild(broker, control, beside, feeds, schema, on_progress).run()


class _Rebuild:
    """One rebuild, from empty new tables on."""

    def __init__(
        self,
        broker: Broker,
        control: Connection,
        beside: "asyncpg.Pool[asyncpg.Record]",
        feeds: Sequence[_Feed],
        schema: dict[str, str],
        on_progress: OnProgress,
    ) -> None:
        self._broker = broker
        self._control = control
        self._beside = beside
        self._feeds = feeds
        self._schema = schema
        self._on_progress = on_progress
        self._tables = sorted({table for feed in feeds for table in feed.reading.tables})
        self._at = [0] * len(feeds)
        self._messages = 0

    async def run(self) -> Rebuilt:
        """Come near to where the old tables are, then all the way with them held, and swap."""
        while True:
            targets, _ = await self._targets()
            if sum(targets) - sum(self._at) <= _NEAR:
                break
            await self._read(targets)
        async with self._control.transaction():
            await self._hold()
            targets, comparable = await self._targets()
            await self._read(targets)
            before = await digest_of(self._control, self._tables) if comparable else None
            async with self._beside.acquire() as connection:
                made = await digest_of(connection, self._tables)
            await self._swap()
        return self._rebuilt(made, before)

    async def _targets(self) -> tuple[list[int], bool]:
        """How far to read each feed, and whether the old tables then stand at the same places."""
        stands = await self._old_positions()
        ends = await asyncio.gather(*[self._end(feed) for feed in self._feeds])
        keeps_up = all(
            at <= stood and end - stood <= _KEEPS_UP for at, stood, end in zip(self._at, stands, ends, strict=True)
        )
        return (stands if keeps_up else [max(pair) for pair in zip(self._at, ends, strict=True)]), keeps_up

    async def _old_positions(self) -> list[int]:
        if not await _there(self._control, ["positions", *self._tables]):
            return [-1] * len(self._feeds)
        names = {feed.reading.name for feed in self._feeds}
        positions = {name: await list_positions(self._control, name) for name in names}
        return [positions[feed.reading.name].get(feed.stream, -1) for feed in self._feeds]

    async def _end(self, feed: _Feed) -> int:
        info = await api(self._broker, f"STREAM.INFO.{feed.stream}", {}, _StreamInfo)
        if info.error is not None:
            raise Unavailable(f"stream {feed.stream}: {info.error.description}")
        if info.state.first_seq > 1:
            begins = f"stream {feed.stream} begins at message {info.state.first_seq}"
            raise RebuildRefused(f"{begins}: rows made of earlier ones would be lost")
        return info.state.last_seq

    async def _read(self, targets: Sequence[int]) -> None:
        total = self._messages + sum(targets) - sum(self._at)
        try:
            async with asyncio.TaskGroup() as group:
                for number, target in enumerate(targets):
                    group.create_task(self._feed(number, target, total))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _feed(self, number: int, target: int, total: int) -> None:
        feed = self._feeds[number]
        async with self._beside.acquire() as connection:
            at = await read_position(connection, feed.reading.name, feed.stream)

            async def on_batch(deliveries: Sequence[Delivery]) -> None:
                nonlocal at
                await write_batch(connection, feed.reading, feed.stream, deliveries, after=at)
                at = deliveries[-1].sequence
                self._messages += len(deliveries)
                self._on_progress(self._messages, total)

            await read_until(self._broker, feed.stream, [feed.subjects], on_batch, after=at, until=target)
        self._at[number] = max(self._at[number], target)

    async def _hold(self) -> None:
        """Let nobody write the old tables until this transaction is over; they may be read."""
        await self._control.execute("SET LOCAL lock_timeout = '10s'")
        for table in self._tables:
            if await _there(self._control, [table]):
                await self._control.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")

    async def _swap(self) -> None:
        home = await self._control.fetchval("SELECT quote_ident(current_schema())")
        for table in self._tables:
            await self._control.execute(f"DROP TABLE IF EXISTS {table}")
            await self._control.execute(f"ALTER TABLE {BESIDE}.{table} SET SCHEMA {home}")
        if await _there(self._control, ["positions"]):
            names = sorted({feed.reading.name for feed in self._feeds})
            await self._control.execute("DELETE FROM positions WHERE reading = ANY ($1)", names)
            await self._control.execute(f"INSERT INTO positions TABLE {BESIDE}.positions")
        else:
            await self._control.execute(f"ALTER TABLE {BESIDE}.positions SET SCHEMA {home}")
        await mark_applied(self._control, self._schema)
        await self._control.execute(f"DROP SCHEMA {BESIDE} CASCADE")

    def _rebuilt(self, made: Digest, before: Digest | None) -> Rebuilt:
        return Rebuilt(
            digest=made.value,
            before=None if before is None else before.value,
            rows=made.rows,
            messages=self._messages,
        )


async def _there(connection: Connection, tables: Sequence[str]) -> bool:
    """Whether there are tables of all these names."""
    found: bool = await connection.fetchval(
        "SELECT count(to_regclass(name)) = count(*) FROM unnest($1::text[]) AS wanted (name)", list(tables)
    )
    return found


@asynccontextmanager
async def _pool(dsn: str, **settings: str) -> "AsyncIterator[asyncpg.Pool[asyncpg.Record]]":
    server_settings = {"application_name": "headgate projections", "timezone": "UTC", **settings}
    async with asyncpg.create_pool(
        dsn, min_size=1, max_size=16, timeout=5, command_timeout=_COMMAND_SECONDS, server_settings=server_settings
    ) as pool:
        yield pool
