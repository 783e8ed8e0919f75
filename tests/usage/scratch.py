"""Databases of a test's own on the shared PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from libs.runtime.ids import new_id

SCHEMA = Path(__file__).parents[2] / "services" / "gateway" / "read_models" / "schema"


@asynccontextmanager
async def scratch_database(dsn: str) -> AsyncIterator[str]:
    """The DSN of an empty database, gone afterwards."""
    name = new_id("scratch")
    server = await asyncpg.connect(dsn)
    try:
        await server.execute(f"CREATE DATABASE {name}")
        yield _with_database(dsn, name)
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await server.close()


def _with_database(dsn: str, name: str) -> str:
    head, _, query = dsn.partition("?")
    return f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")
