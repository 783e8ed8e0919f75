"""One stack for the tests that go through the API; a database of its own for each test of a store."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from cli.ports import random_port
from libs.runtime.ids import new_id
from libs.runtime.postgres import Database, database
from libs.storage import migrations
from tests.e2e.caller import Caller, calling
from tests.e2e.target import Target, target
from tests.stack import Stack

MAX_FILE_BYTES = 2 * 1024 * 1024


@pytest.fixture(scope="package")
def model_port() -> int:
    """Where executors look for the provider `openai`; a test that wants one serves it there."""
    return random_port()


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, model_port: int) -> Iterator[Stack]:
    """Two gateways and two executors; a test that hurts one leaves it whole again."""
    env = {
        "HEADGATE_LEASE_SECONDS": "2",
        "HEADGATE_MAX_FILE_BYTES": str(MAX_FILE_BYTES),
        "OPENAI_BASE_URL": f"http://127.0.0.1:{model_port}/v1",
    }
    with Stack(tmp_path_factory.mktemp("storage"), gateways=2, executors=2, env=env) as running:
        yield running


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[Caller]:
    """The admin of the stack."""
    async with calling(stack) as found:
        yield found


@pytest.fixture
async def web() -> AsyncIterator[Target]:
    """Something for nodes to call, and to fetch files from."""
    async with target() as found:
        yield found


@pytest.fixture
async def tables(postgres: str) -> AsyncIterator[Database]:
    """A migrated database that no other test has."""
    name = new_id("db")
    admin = await asyncpg.connect(postgres)
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        async with database(f"{postgres.rpartition('/')[0]}/{name}", migrations(), "test") as found:
            async with asyncio.timeout(10):
                await found.ready.wait()
            yield found
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()
