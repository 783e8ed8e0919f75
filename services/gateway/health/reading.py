"""Everything that can be told about an installation at one moment, read where it is true."""

import asyncio
import shutil
from datetime import datetime

import asyncpg
import msgspec

from libs.events.broker import Broker
from libs.events.standing import Standing, read_standing, stored_at
from libs.runtime.postgres import Database

_DATABASE_SECONDS = 2.0
_POSITIONS = "SELECT reading, stream, sequence FROM positions ORDER BY reading, stream"


class Projection(msgspec.Struct, frozen=True, kw_only=True):
    """How far a table is behind its stream. `oldest_at`: when the first message that it lacks was stored."""

    reading: str
    stream: str
    behind: int
    oldest_at: datetime | None


class Disk(msgspec.Struct, frozen=True, kw_only=True):
    """The disk that the installation's data directory lies on, in bytes."""

    free_bytes: int
    total_bytes: int


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What was read. `projections` is None while the database does not answer; `disk` where none is watched."""

    standing: Standing
    projections: list[Projection] | None
    disk: Disk | None


async def read_health(broker: Broker, tables: Database, data: str) -> Health:
    """Read it all. Unavailable when the log does not answer."""
    standing = await read_standing(broker)
    return Health(
        standing=standing,
        projections=await _projections(broker, tables, standing),
        disk=await asyncio.to_thread(read_disk, data) if data else None,
    )


def read_disk(data: str) -> Disk | None:
    """The disk of a directory; None when there is no such directory."""
    try:
        usage = shutil.disk_usage(data)
    except OSError:
        return None
    return Disk(free_bytes=usage.free, total_bytes=usage.total)


async def _projections(broker: Broker, tables: Database, standing: Standing) -> list[Projection] | None:
    if tables.pool is None:
        return None
    try:
        async with asyncio.timeout(_DATABASE_SECONDS):
            rows = await tables.pool.fetch(_POSITIONS)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        return None
    last = {stream.name: stream.last_sequence for stream in standing.streams}
    found: list[Projection] = []
    for reading, stream, sequence in rows:
        # The streams were read before the positions: a table may be ahead of what was seen then.
        behind = max(0, last.get(stream, 0) - sequence)
        oldest = await stored_at(broker, stream, sequence + 1) if behind else None
        found.append(Projection(reading=reading, stream=stream, behind=behind, oldest_at=oldest))
    return found
