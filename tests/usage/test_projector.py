"""The projector writes few transactions under load, and what a crash of PostgreSQL takes back it writes again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from cli.servers import NatsServer
from libs.events.broker import Broker, connect
from libs.events.log import EventLog
from libs.events.subjects import ANY, Kind, RunKey, kind_filter, stream_of
from libs.events.topology import converge
from libs.runtime.ids import new_id
from libs.runtime.postgres import database
from libs.runtime.sql import read_migrations
from services.gateway.read_models.projector import Projector
from services.gateway.read_models.run_rows import RunRows
from tests.events.runs import completed, requested
from tests.usage.scratch import SCHEMA, scratch_database

RUNS = 200
GATHER_SECONDS = 0.05

WATCH = """
CREATE TABLE commits (sequence bigint, synchronous text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO commits VALUES (NEW.sequence, current_setting('synchronous_commit'));
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER UPDATE OF sequence ON positions FOR EACH ROW WHEN (NEW.sequence > OLD.sequence)
EXECUTE FUNCTION note();
"""


@pytest.fixture
async def tables(postgres: str) -> AsyncIterator[str]:
    async with scratch_database(postgres) as dsn:
        yield dsn


@pytest.fixture
async def own_log(fresh_nats: NatsServer) -> AsyncIterator[EventLog]:
    """A log with one stream that holds nothing else."""
    async with connect(fresh_nats.url, "test", lambda: None) as broker:
        yield EventLog(broker, await converge(broker, 1, replicas=1))


@asynccontextmanager
async def projecting(broker: Broker, dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A projector at work, and a connection to look at what it writes."""
    async with database(dsn, read_migrations(SCHEMA), "test") as found:
        await found.ready.wait()
        connection = await asyncpg.connect(dsn)
        working = asyncio.create_task(Projector(broker, found, RunRows(), stream_of(0), kind_filter(0, ANY)).run())
        try:
            yield connection
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await connection.close()


async def write_runs(log: EventLog, count: int) -> int:
    """Runs that began and ended; the last sequence."""

    async def write() -> int:
        run = RunKey("ws_1", new_id("run"))
        after = await log.append(run, Kind.REQUESTED, requested(run), after=0)
        return await log.append(run, Kind.ENDED, completed(run, 2), after=after)

    return max(await asyncio.gather(*[write() for _ in range(count)]))


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110  # PostgreSQL tells nobody
            await asyncio.sleep(0.005)


async def caught_up(connection: asyncpg.Connection, sequence: int) -> None:
    async def reached() -> bool:
        return bool(await connection.fetchval("SELECT sequence FROM positions") == sequence)

    await until(reached)


async def rows(connection: asyncpg.Connection) -> list[Any]:
    return [tuple(row) for row in await connection.fetch("SELECT * FROM runs ORDER BY id")]


async def test_under_load_messages_gather_in_transactions_that_do_not_wait_for_the_disk(
    own_log: EventLog, tables: str
) -> None:
    async with projecting(own_log.broker, tables) as connection:
        await connection.execute(WATCH)
        await caught_up(connection, 0)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await caught_up(connection, await write_runs(own_log, RUNS))
        elapsed = loop.time() - began
        commits = await connection.fetch("SELECT * FROM commits ORDER BY sequence")
        assert {row["synchronous"] for row in commits} == {"off"}
        assert len(commits) <= elapsed / GATHER_SECONDS + 2
        assert len(commits) < RUNS / 4
        assert len(await rows(connection)) == RUNS
        assert {row["status"] for row in await connection.fetch("SELECT status FROM runs")} == {"completed"}


async def test_what_postgres_lost_is_read_from_the_log_again(own_log: EventLog, tables: str) -> None:
    async with projecting(own_log.broker, tables) as connection:
        half = await write_runs(own_log, 10)
        await caught_up(connection, half)
        early = [row[1] for row in await rows(connection)]
        last = await write_runs(own_log, 10)
        await caught_up(connection, last)
        whole = await rows(connection)
    connection = await asyncpg.connect(tables)
    async with connection.transaction():
        # What a crash takes back: the newest transactions, rows and position together.
        await connection.execute("DELETE FROM runs WHERE id <> ALL ($1)", early)
        await connection.execute("UPDATE positions SET sequence = $1", half)
    await connection.close()
    async with projecting(own_log.broker, tables) as connection:
        await caught_up(connection, last)
        assert await rows(connection) == whole


async def test_a_held_run_that_is_asked_for_and_ends_within_one_batch_has_ended(own_log: EventLog, tables: str) -> None:
    run = RunKey("ws_1", new_id("run"))
    async with projecting(own_log.broker, tables) as connection:
        held = await own_log.append(run, Kind.HELD, requested(run), after=0)
        await caught_up(connection, held)
        asked = await own_log.append(run, Kind.REQUESTED, requested(run), after=held)
        await caught_up(connection, await own_log.append(run, Kind.ENDED, completed(run, 2), after=asked))
        assert await connection.fetchval("SELECT status FROM runs") == "completed"
