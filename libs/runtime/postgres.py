"""PostgreSQL: a pool that comes up when the server does, and migrations that any number of processes may start.

Migrations are numbered `.sql` files, forward only, each applied once in a transaction; what was applied may not
change afterwards. PostgreSQL holds nothing that the log does not, but for blobs and secrets, so its absence stops no
run.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg
import structlog
from prometheus_client import Gauge

_MIGRATION_LOCK = 0x4845_4144
_COMMAND_SECONDS = 10.0
_LOOK_SECONDS = 5.0
_ANSWER_SECONDS = 2.0

_UP = Gauge("headgate_database_up", "Whether PostgreSQL answers this process: 1 or 0.")
_HISTORY = """
CREATE TABLE IF NOT EXISTS migrations
    (name text PRIMARY KEY, digest text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())
"""

Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
"""A connection of the pool; generic for type checkers alone."""

log = structlog.get_logger()


class Database:
    """The pool, once there is one. `ready` is set when the schema is."""

    def __init__(self) -> None:
        self.pool: asyncpg.Pool[asyncpg.Record] | None = None
        self.ready = asyncio.Event()
        self.outdated = False
        """Whether it is there, and lacks tables that others have to make."""


class SchemaError(Exception):
    """A migration that was applied has changed since; the message names it."""


class Outdated(Exception):
    """A migration was not applied, and is not this process's to apply; the message names it."""


Prepare: TypeAlias = Callable[[Connection, dict[str, str]], Awaitable[None]]
"""`migrate`, or `expect` where others do that."""


@asynccontextmanager
async def database(
    dsn: str, migrations: dict[str, str], name: str, *, converge: bool = True
) -> AsyncIterator[Database]:
    """A database that is connected in the background, and has its schema, for as long as that takes.

    `converge`: the schema is brought there by this process; else it is waited for.
    """
    found = Database()
    connecting = asyncio.create_task(_connect(found, dsn, migrations, name, migrate if converge else expect))
    _UP.set(0)
    try:
        yield found
    finally:
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        if found.pool is not None:
            found.pool.terminate()


async def _connect(found: Database, dsn: str, migrations: dict[str, str], name: str, prepare: Prepare) -> None:
    pause = 0.1
    while True:
        pool: asyncpg.Pool[asyncpg.Record] | None = None
        try:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=1,
                max_size=8,
                timeout=5,
                command_timeout=_COMMAND_SECONDS,
                max_inactive_connection_lifetime=300,
                server_settings={"application_name": name},
            )
            async with pool.acquire(timeout=5) as connection:
                await prepare(connection, migrations)
        except (Outdated, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
            if pool is not None:
                pool.terminate()
            found.outdated = isinstance(error, Outdated)
            log.info("waiting for PostgreSQL", reason=str(error) if found.outdated else type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)
        else:
            found.pool = pool
            found.outdated = False
            found.ready.set()
            await _watch(pool)


async def _watch(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Say whether the server answers, until cancelled; who uses the pool finds out by himself."""
    while True:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                await pool.fetchval("SELECT 1")
            _UP.set(1)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError):
            _UP.set(0)
        await asyncio.sleep(_LOOK_SECONDS)


async def expect(connection: Connection, migrations: dict[str, str]) -> None:
    """Outdated where one of the migrations was not applied yet. Later ones than ours do no harm: they only add."""
    exists = await connection.fetchval("SELECT to_regclass('migrations') IS NOT NULL")
    rows = await connection.fetch("SELECT name FROM migrations") if exists else []
    lacking = sorted(set(migrations) - {row["name"] for row in rows})
    if lacking:
        raise Outdated(f"migration {lacking[0]} was not applied: run `headgate migrate`")


async def migrate(connection: Connection, migrations: dict[str, str]) -> None:
    """Apply the migrations (text by name) that were not applied yet. SchemaError when history was changed."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
        await connection.execute(_HISTORY)
        applied = {row["name"]: row["digest"] for row in await connection.fetch("SELECT name, digest FROM migrations")}
        for name, text in sorted(migrations.items()):
            digest = _digest(text)
            if applied.get(name, digest) != digest:
                raise SchemaError(f"migration {name} was changed after it was applied")
            if name not in applied:
                await connection.execute(text)
                await connection.execute("INSERT INTO migrations (name, digest) VALUES ($1, $2)", name, digest)


async def mark_applied(connection: Connection, migrations: dict[str, str]) -> None:
    """Say that the tables are as these migrations leave them: they were made so elsewhere, and put in place."""
    await connection.execute(_HISTORY)
    for name, text in migrations.items():
        statement = "INSERT INTO migrations (name, digest) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"
        await connection.execute(statement, name, _digest(text))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
