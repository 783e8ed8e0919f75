"""PostgreSQL killed, its sessions ended, its connections used up, in turn: runs go on without it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg

from chaos.fault import Fault
from chaos.recorder import PROBE
from chaos.stage import Stage

_RUN_SECONDS = 10.0
_CONNECT_SECONDS = 5.0
_MOST_CONNECTIONS = 200


async def strike(stage: Stage, nth: int) -> None:
    async with (_killed, _sessions_ended, _used_up)[nth % 3](stage):
        try:
            async with asyncio.timeout(_RUN_SECONDS):
                body = {"input": {"text": PROBE}, "mode": "sync"}
                await stage.free.client.call("POST", stage.free.path, body, gateway=nth)
        except TimeoutError:
            stage.wrong.append(f"no run went through within {_RUN_SECONDS:g} s while the tables were away")


@asynccontextmanager
async def _killed(stage: Stage) -> AsyncIterator[None]:
    stage.strike()
    pid = stage.stack.kill("postgres")
    yield
    await stage.back("postgres", 0, pid)


@asynccontextmanager
async def _sessions_ended(stage: Stage) -> AsyncIterator[None]:
    connection = await _connect(stage)
    try:
        stage.strike()
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
        await connection.execute(f"{others} AND backend_type = 'client backend'", timeout=_CONNECT_SECONDS)
        yield
    finally:
        await connection.close(timeout=_CONNECT_SECONDS)


@asynccontextmanager
async def _used_up(stage: Stage) -> AsyncIterator[None]:
    """The sessions that there are end, and ours take every place."""
    async with AsyncExitStack() as stack:
        first = await _connect(stage)
        stack.push_async_callback(first.close, timeout=_CONNECT_SECONDS)
        stage.strike()
        with suppress(asyncpg.TooManyConnectionsError):
            for _ in range(_MOST_CONNECTIONS):
                connection = await _connect(stage)
                stack.push_async_callback(connection.close, timeout=_CONNECT_SECONDS)
        yield


async def _connect(stage: Stage) -> "asyncpg.Connection[asyncpg.Record]":
    pid = stage.stack.process("gateway")["pid"]
    environment = Path(f"/proc/{pid}/environ").read_text().split("\0")  # noqa: ASYNC240  # procfs does not block
    dsn = next(line.partition("=")[2] for line in environment if line.startswith("HEADGATE_POSTGRES_DSN="))
    deadline = asyncio.get_running_loop().time() + 30
    while True:
        try:
            return await asyncpg.connect(dsn, timeout=_CONNECT_SECONDS)
        except asyncpg.TooManyConnectionsError:
            raise
        except (OSError, asyncpg.PostgresError):
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.1)


FAULT = Fault(
    name="tables-away",
    says="PostgreSQL killed, its sessions ended, its connections used up",
    times=100,
    runs=1000,
    strike=strike,
)
