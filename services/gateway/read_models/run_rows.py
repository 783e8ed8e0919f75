"""The reading that fills the runs table."""

from collections.abc import Sequence
from pathlib import Path

from libs.events.pull import Delivery
from libs.events.subjects import ANY, kind_filter, stream_of
from libs.runtime.postgres import Connection
from libs.runtime.sql import read_queries
from services.gateway.read_models.rows import Row, read_rows

READING = "runs"


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
        new, changed = read_rows(deliveries)
        if new:
            await connection.execute(self._sql["insert_runs"], *_columns(new))
        if changed:
            rows = _columns(changed)
            await connection.execute(self._sql["update_runs"], rows[0], rows[1], *rows[7:9], *rows[10:])


def _columns(rows: Sequence[Row]) -> list[list[object]]:
    return [[getattr(row, name) for row in rows] for name in Row.__struct_fields__]
