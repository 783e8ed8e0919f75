"""A connection for a statement or a few, and one word for everything that keeps us from PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import structlog

from libs.runtime.failures import Retryable
from libs.runtime.postgres import Connection, Database

_ACQUIRE_SECONDS = 5.0
_AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

log = structlog.get_logger()


class Away(Retryable):
    """PostgreSQL cannot be reached, or did not do what it was asked in time."""

    def __init__(self) -> None:
        super().__init__("unavailable", "what is stored in PostgreSQL cannot be reached now")


@asynccontextmanager
async def connection(database: Database) -> AsyncIterator[Connection]:
    """A connection of the pool. Away where there is none, and for every error of the server inside the block."""
    if database.pool is None:
        raise Away
    try:
        async with database.pool.acquire(timeout=_ACQUIRE_SECONDS) as acquired:
            yield acquired
    except _AWAY as error:
        # Without its cause: the server's texts may quote values.
        log.warning("storage cannot be used", reason=type(error).__name__)
        raise Away from None
