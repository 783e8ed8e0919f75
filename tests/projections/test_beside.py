"""Tables made beside those in use: under a new schema, with writers at work, refused where rows would be lost."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest

from cli.servers import NatsServer
from libs.events.broker import Broker, connect
from libs.events.log import EventLog
from libs.events.pull import Delivery
from libs.events.subjects import HURRY, Kind, RunKey, parse_run_subject, stream_of
from libs.events.topology import api, converge
from libs.runtime.ids import new_id
from libs.runtime.postgres import Connection, database, migrate
from services.gateway.app import projectors
from services.gateway.read_models import migrations
from services.gateway.read_models.delivery_rows import DeliveryRows
from services.gateway.read_models.rebuilding import BESIDE, RebuildRefused, Rebuilt, rebuild
from services.gateway.read_models.run_rows import RunRows
from tests.events.runs import completed, requested
from tests.events.waiting import until
from tests.usage.scratch import scratch_database

SHARDS = 2
WIDER = migrations() | {"9001_runs_are_weighed.sql": "ALTER TABLE runs ADD COLUMN weight integer NOT NULL DEFAULT 0;"}


class WeighedRows(RunRows):
    """The runs table of a version to come: it also has how large a run's last message was."""

    async def write(self, connection: Connection, deliveries: Sequence[Delivery]) -> None:
        await super().write(connection, deliveries)
        for delivery in deliveries:
            run, _ = parse_run_subject(delivery.subject)
            statement = "UPDATE runs SET weight = $2 WHERE id = $1"
            await connection.execute(statement, run.run_id, len(delivery.payload))


@pytest.fixture
async def own_log(fresh_nats: NatsServer) -> AsyncIterator[EventLog]:
    """A log that holds nothing else."""
    async with connect(fresh_nats.url, "test", lambda: None) as broker:
        yield EventLog(broker, await converge(broker, SHARDS, replicas=1))


@pytest.fixture
async def dsn(postgres: str) -> AsyncIterator[str]:
    async with scratch_database(postgres) as found:
        yield found


@asynccontextmanager
async def serving(broker: Broker, dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """The projectors of a gateway of this version at work, and a connection to look at what they write."""
    async with database(dsn, migrations(), "test") as found:
        await found.ready.wait()
        connection = await asyncpg.connect(dsn)
        working = [asyncio.create_task(each.run()) for each in projectors(broker, found, SHARDS)]
        try:
            yield connection
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            await connection.close()


async def write_runs(log: EventLog, count: int) -> list[str]:
    """Runs that began and ended."""
    runs = [RunKey("ws_1", new_id("run")) for _ in range(count)]

    async def write(run: RunKey) -> None:
        after = await log.append(run, Kind.REQUESTED, requested(run), after=0)
        await log.append(run, Kind.ENDED, completed(run, 2), after=after)

    await asyncio.gather(*map(write, runs))
    return [run.run_id for run in runs]


async def has_runs(connection: asyncpg.Connection, run_ids: Sequence[str]) -> bool:
    """Whether the table has these runs, ended, and no other."""
    rows = await connection.fetch("SELECT id FROM runs WHERE status = 'completed'")
    return sorted(row["id"] for row in rows) == sorted(run_ids)


async def until_it_has(connection: asyncpg.Connection, run_ids: Sequence[str]) -> None:
    await until(lambda: has_runs(connection, run_ids))


async def rebuilt(log: EventLog, dsn: str, **changes: object) -> Rebuilt:
    schema = changes.get("schema", migrations())
    runs = changes.get("runs", RunRows())
    assert isinstance(schema, dict)
    assert isinstance(runs, RunRows)
    return await rebuild(log.broker, log.shards, dsn, schema, [runs, DeliveryRows()])


async def test_a_new_schema_is_filled_beside_the_old_one_which_is_written_on(own_log: EventLog, dsn: str) -> None:
    async with serving(own_log.broker, dsn) as connection:
        runs = await write_runs(own_log, 300)
        await until_it_has(connection, runs)

        switching = asyncio.create_task(rebuilt(own_log, dsn, schema=WIDER, runs=WeighedRows()))
        while not switching.done():
            runs += await write_runs(own_log, 5)
        made = await switching
        runs += await write_runs(own_log, 5)
        await until_it_has(connection, runs)

        assert made.rows["runs"] >= 300
        weighed = await connection.fetchval("SELECT count(*) FROM runs WHERE weight > 0")
        assert 300 <= weighed <= made.rows["runs"]
        assert await connection.fetchval("SELECT to_regnamespace($1) IS NULL", BESIDE)
        assert await connection.fetchval("SELECT count(*) FROM pg_indexes WHERE tablename = 'runs'") == 5
        async with asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool, pool.acquire() as upgraded:
            await migrate(upgraded, WIDER)  # finds its tables made


async def test_writers_at_work_change_nothing_about_the_digest(own_log: EventLog, dsn: str) -> None:
    async with serving(own_log.broker, dsn) as connection:
        runs = await write_runs(own_log, 100)
        done = asyncio.Event()

        async def work() -> None:
            while not done.is_set():
                runs.extend(await write_runs(own_log, 4))
                own_log.broker.send(HURRY)  # or the tables are written twice a second

        working = asyncio.create_task(work())
        made = [await rebuilt(own_log, dsn) for _ in range(4)]
        done.set()
        await working
        assert [each.before for each in made] == [each.digest for each in made]
        assert len({each.digest for each in made}) == 4
        await until_it_has(connection, runs)


async def test_emptied_tables_fill_again_with_the_next_run(own_log: EventLog, dsn: str) -> None:
    """Positions and rows go together: who takes both back is read to again."""
    async with serving(own_log.broker, dsn) as connection:
        runs = await write_runs(own_log, 50)
        await until_it_has(connection, runs)
        await connection.execute("TRUNCATE runs; UPDATE positions SET sequence = 0")

        for _ in range(SHARDS * 8):  # so that each stream gets one
            runs += await write_runs(own_log, 1)

        await until_it_has(connection, runs)


async def test_a_log_without_its_beginning_is_left_alone(own_log: EventLog, dsn: str) -> None:
    broker = own_log.broker
    async with serving(broker, dsn) as connection:
        runs = await write_runs(own_log, 20)
        await until_it_has(connection, runs)
        info = await api(broker, f"STREAM.INFO.{stream_of(0)}", {}, dict)
        config = info["config"] | {"max_msgs": 3, "discard": "old"}
        assert "error" not in await api(broker, f"STREAM.UPDATE.{stream_of(0)}", config, dict)

        with pytest.raises(RebuildRefused, match="begins at message"):
            await rebuilt(own_log, dsn)

        assert await has_runs(connection, runs)


async def test_only_one_rebuild_is_made_at_a_time(own_log: EventLog, dsn: str) -> None:
    async with serving(own_log.broker, dsn) as connection:
        runs = await write_runs(own_log, 20)
        await until_it_has(connection, runs)

        made = await asyncio.gather(*[rebuilt(own_log, dsn) for _ in range(2)], return_exceptions=True)

        assert [isinstance(each, Rebuilt) for each in made].count(True) >= 1
        assert all(isinstance(each, Rebuilt) or "another rebuild" in str(each) for each in made)
        assert await has_runs(connection, runs)


async def test_what_a_rebuild_left_that_was_cut_off_is_thrown_away(own_log: EventLog, dsn: str) -> None:
    async with serving(own_log.broker, dsn) as connection:
        runs = await write_runs(own_log, 20)
        await until_it_has(connection, runs)
        await connection.execute(f"CREATE SCHEMA {BESIDE}; CREATE TABLE {BESIDE}.runs (id text)")

        made = await rebuilt(own_log, dsn)

        assert made.before == made.digest
        assert made.rows == {"runs": 20, "deliveries": 0, "attempts": 0}


async def test_tables_that_are_gone_are_made(own_log: EventLog, dsn: str) -> None:
    runs = await write_runs(own_log, 20)
    made = await rebuilt(own_log, dsn)
    assert (made.before, made.rows["runs"]) == (None, 20)
    connection = await asyncpg.connect(dsn)
    assert await has_runs(connection, runs)
    positions = await connection.fetch("SELECT stream FROM positions WHERE reading = 'runs'")
    assert {row["stream"] for row in positions} == {stream_of(shard) for shard in range(SHARDS)}
    await connection.close()
    async with serving(own_log.broker, dsn) as connection:
        await until_it_has(connection, runs + await write_runs(own_log, 5))
