"""`headgate projections` beside a system at work: the tables come back as they were, and nobody notices."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from cli.local import addresses
from tests.e2e.caller import Caller, calling
from tests.e2e.flows import chain, output, template
from tests.stack import Stack

EACH = 1000
BATCHES = 2


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("projected"), gateways=2, env={"HEADGATE_FSYNC": "interval"}) as running:
        yield running


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[Caller]:
    async with calling(stack) as found:
        yield found


@pytest.fixture
async def tables(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the stack's tables, past the product."""
    monkeypatch.setenv("HEADGATE_DATA", str(stack.data))
    connection = await asyncpg.connect(addresses()["HEADGATE_POSTGRES_DSN"])
    yield connection
    await connection.close()


async def projections(stack: Stack, command: str) -> dict[str, Any]:
    """What the command says."""
    words = [sys.executable, "-m", "cli", "projections", command, "--json"]
    done = await asyncio.to_thread(
        subprocess.run, words, env=stack.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def deploy_and_run(caller: Caller) -> str:
    """A few thousand runs that have ended; their deployment."""
    deployment = await caller.deploy(chain(template("a", "{{ in.text }}"), output("{{ a.text }}")))
    for _ in range(BATCHES):
        body = {"inputs": [{"text": str(n)} for n in range(EACH)]}
        answer = await caller.call("POST", f"/v1/deployments/{deployment}/batch", body)
        assert answer.status == 202, answer.body
    await counted(caller, deployment, BATCHES * EACH)
    return deployment


async def counted(caller: Caller, deployment: str, completed: int) -> None:
    """Wait until the table has so many completed runs."""
    async with asyncio.timeout(30):
        while True:
            stats = await caller.call("GET", f"/v1/deployments/{deployment}/stats")
            if stats.status == 200 and stats.body["runs"]["completed"] >= completed:
                assert stats.body["runs"]["completed"] == completed
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def used(caller: Caller, deployment: str, *, runs: bool) -> AsyncIterator[list[int]]:
    """Users at both gateways who read pages and, with `runs`, start some; the statuses they were answered."""
    answered: list[int] = []
    stopping = asyncio.Event()

    async def use(gateway: int) -> None:
        while not stopping.is_set():
            page = await caller.call("GET", f"/v1/runs?deployment_id={deployment}&limit=10", gateway=gateway)
            answered.append(page.status)
            if runs:
                answered.append((await caller.start(deployment, gateway=gateway)).status)
            else:
                await asyncio.sleep(0.02)

    users = [asyncio.create_task(use(gateway)) for gateway in (0, 1)]
    try:
        yield answered
    finally:
        stopping.set()
        await asyncio.gather(*users)


async def test_emptied_tables_come_back_as_they_were_while_the_system_serves(
    stack: Stack, caller: Caller, tables: asyncpg.Connection
) -> None:
    deployment = await deploy_and_run(caller)
    before = await projections(stack, "digest")
    assert before["rows"]["runs"] >= BATCHES * EACH

    await tables.execute("TRUNCATE runs, deliveries, attempts, positions")
    async with used(caller, deployment, runs=False) as answered:
        made = await projections(stack, "rebuild")

    assert set(answered) == {200}
    assert made["digest"] == before["value"]
    assert made["rows"] == before["rows"]
    assert await projections(stack, "digest") == before
    async with used(caller, deployment, runs=True) as answered:
        assert (await projections(stack, "rebuild"))["same"] is True
    assert set(answered) == {200}
    started = len(answered) // 2
    assert started > 0
    await counted(caller, deployment, BATCHES * EACH + started)


async def test_rows_that_are_not_what_the_log_says_are_told_and_mended(
    stack: Stack, caller: Caller, tables: asyncpg.Connection
) -> None:
    before = await projections(stack, "digest")
    await tables.execute("UPDATE runs SET status = 'failed' WHERE id = (SELECT min(id) FROM runs)")

    made = await projections(stack, "rebuild")

    assert made["same"] is False
    assert made["digest"] == before["value"]


async def test_without_a_server_the_command_says_so(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    nowhere = stack.environment | {"HEADGATE_DATA": str(tmp_path_factory.mktemp("nowhere"))}
    words = [sys.executable, "-m", "cli", "projections", "rebuild"]
    done = await asyncio.to_thread(subprocess.run, words, env=nowhere, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "no PostgreSQL is known" in done.stderr
    assert "Traceback" not in done.stderr
