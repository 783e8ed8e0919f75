"""How far each reading has come in each stream, stored with what it made of it.

A position is moved from where whoever writes believes it to be. When it is not there (the tables were rebuilt, emptied,
restored), the whole batch is undone, and reading goes on from where it is now.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from libs.events.pull import Delivery
from libs.runtime.postgres import Connection
from libs.runtime.sql import read_queries
from services.gateway.read_models.reading import Reading


class Moved(Exception):
    """Somebody else has put the reading's position elsewhere."""


async def read_position(connection: Connection, reading: str, stream: str) -> int:
    """The stream sequence of the last message in the reading; 0, from now on, where there was none."""
    position: int = await connection.fetchval(_sql()["read_position"], reading, stream)
    return position


async def list_positions(connection: Connection, reading: str) -> dict[str, int]:
    """The position in each stream that was begun."""
    return {row["stream"]: row["sequence"] for row in await connection.fetch(_sql()["list_positions"], reading)}


async def write_batch(
    connection: Connection, reading: Reading, stream: str, deliveries: Sequence[Delivery], *, after: int
) -> None:
    """Write what the messages say, and that they were read, in one transaction. Moved: `after` is not the position."""
    async with connection.transaction():
        await connection.execute(_sql()["commit_without_waiting"])
        await reading.write(connection, deliveries)
        place = deliveries[-1].sequence
        if await connection.execute(_sql()["write_position"], reading.name, stream, place, after) != "UPDATE 1":
            raise Moved


@cache
def _sql() -> dict[str, str]:
    return read_queries(Path(__file__).with_name("positions.sql"))
