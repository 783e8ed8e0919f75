"""The embedded PostgreSQL: behind a password, the same after a stop and after a crash, also for root."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from cli.servers import PostgresServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path_factory.mktemp("closed") / "postgres")
    server.start()
    yield server
    server.stop()


async def count(server: PostgresServer) -> int:
    """One row more in a table; how many there are."""
    connection = await asyncpg.connect(server.dsn, timeout=10)
    await connection.execute("CREATE TABLE IF NOT EXISTS t (x int); INSERT INTO t VALUES (1)")
    rows: int = await connection.fetchval("SELECT count(*) FROM t")
    await connection.close()
    return rows


async def test_committed_rows_survive_a_crash(server: PostgresServer) -> None:
    before = await count(server)
    dsn = server.dsn
    server.kill()
    server.start()
    assert server.dsn == dsn
    assert await count(server) == before + 1


async def test_it_stops_and_starts_on_the_same_data(server: PostgresServer) -> None:
    before = await count(server)
    server.stop()
    assert server.process is not None
    assert server.process.returncode == 0
    server.start()
    assert await count(server) == before + 1


async def test_it_is_version_18_with_vectors(server: PostgresServer) -> None:
    connection = await asyncpg.connect(server.dsn, timeout=10)
    assert (await connection.fetchval("SHOW server_version")).startswith("18.")
    await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    assert await connection.fetchval("SELECT '[1,2]'::vector <-> '[1,2]'::vector") == 0
    await connection.close()


async def test_no_one_enters_without_the_password(server: PostgresServer) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://headgate:wrong@127.0.0.1:{server.port}/postgres", timeout=10)
    password = (server.data / "password").read_text()
    assert password not in server.address
    assert (server.data / "password").stat().st_mode & 0o777 == 0o600


@pytest.fixture(params=["another program", "a zombie"])
def stranger(server: PostgresServer, request: pytest.FixtureRequest) -> Iterator[int]:
    """The number of a process that is no PostgreSQL, of the account that PostgreSQL runs as."""
    owner = {"user": server.data.stat().st_uid} if os.geteuid() == 0 else {}
    process = subprocess.Popen(["sleep", "60"], **owner)
    if request.param == "a zombie":
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield process.pid
    process.kill()
    process.wait()


async def test_a_stale_lock_that_names_a_process_keeps_nobody_out(server: PostgresServer, stranger: int) -> None:
    before = await count(server)
    server.kill()
    lock = server.data / "cluster" / "postmaster.pid"
    lock.write_text("\n".join([str(stranger), *lock.read_text().splitlines()[1:]]) + "\n")
    server.start()
    assert await count(server) == before + 1


def test_a_start_that_broke_off_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "cluster.new").mkdir()
    (tmp_path / "cluster.new" / "PG_VERSION").write_text("18\n")
    server = PostgresServer(tmp_path)
    server.start()
    server.kill()
    assert (tmp_path / "cluster" / "global").is_dir()
    assert not (tmp_path / "cluster.new").exists()


def test_a_crash_of_the_parent_takes_the_server_along(server: PostgresServer, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from cli.servers import PostgresServer\n"
        f"server = PostgresServer(pathlib.Path({str(tmp_path)!r})); server.start()\n"
        "print(server.pid, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    handle = os.pidfd_open(pid)
    parent.kill()
    parent.wait()
    with os.fdopen(handle, closefd=True):
        assert ended(handle)


def ended(handle: int) -> bool:
    """Whether a process ends within five seconds."""
    import select

    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(5000))
