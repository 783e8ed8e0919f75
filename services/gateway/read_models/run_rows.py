"""The reading that fills the runs table."""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

from libs.events.pull import Delivery
from libs.events.subjects import ANY, kind_filter, stream_of
from libs.runtime.postgres import Connection
from libs.runtime.sql import read_queries
from services.gateway.read_models.rows import Row, read_rows

READING = "runs"

_SLICE = 64
"""Runs that are read at a stretch: calls go on in between, which a whole batch would hold up for milliseconds."""

_ROWS = 128
"""Rows that are written at a stretch, for the same reason."""


class RunRows:
    """One row a run."""

    name = READING
    tables: tuple[str, ...] = ("runs",)

    def __init__(self) -> None:
        self._sql = read_queries(Path(__file__).with_name("queries.sql"))

    def streams(self, shards: int) -> dict[str, str]:
        """Everything about runs."""
        return {stream_of(shard): kind_filter(shard, ANY) for shard in range(shards)}

    async def write(self, connection: Connection, deliveries: Sequence[Delivery]) -> None:
        """Insert the runs that are new, move those that went on."""
        new: dict[str, Row] = {}
        changed: dict[str, Row] = {}
        read = 0
        for delivery in deliveries:
            read += read_rows(delivery, new, changed)
            if read >= _SLICE:
                read = 0
                await asyncio.sleep(0)
        for rows in _slices(new.values()):
            await connection.execute(self._sql["insert_runs"], *rows)
        for rows in _slices(changed.values()):
            await connection.execute(self._sql["update_runs"], rows[0], rows[1], *rows[7:9], *rows[10:])


def _slices(rows: Collection[Row]) -> Iterator[list[list[object]]]:
    left = iter(rows)
    while some := list(islice(left, _ROWS)):
        yield _columns(some)


def _columns(rows: Collection[Row]) -> list[list[object]]:
    return [[getattr(row, name) for row in rows] for name in Row.__struct_fields__]
