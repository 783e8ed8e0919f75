"""The reading that fills the runs table."""

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path

from libs.events.pull import Delivery
from libs.events.subjects import ANY, kind_filter, stream_of
from libs.runtime.postgres import Connection
from libs.runtime.sql import read_queries
from services.gateway.read_models.rows import Row, read_rows

READING = "runs"

_SLICE = 32
"""Messages that are read at a stretch: calls go on in between, which a whole batch would hold up for milliseconds."""


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
        for at in range(0, len(deliveries), _SLICE):
            read_rows(deliveries[at : at + _SLICE], new, changed)
            await asyncio.sleep(0)
        if new:
            await connection.execute(self._sql["insert_runs"], *_columns(new.values()))
        if changed:
            rows = _columns(changed.values())
            await connection.execute(self._sql["update_runs"], rows[0], rows[1], *rows[7:9], *rows[10:])


def _columns(rows: Collection[Row]) -> list[list[object]]:
    return [[getattr(row, name) for row in rows] for name in Row.__struct_fields__]
