"""The runs table: which runs there are, newest first, by what they are searched for.

The table tells which; the log tells what they are, so a page is never older than the log. A caller who has just
started a run finds it: the table is waited for, up to a second, until it has come as far as the log was.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeAlias, get_args

import asyncpg
import msgspec

from libs.edge.problems import Problem
from libs.events.log import EventLog
from libs.events.run import Run, Status, fold, run_of
from libs.events.subjects import RunKey, stream_of
from libs.runtime.postgres import Database
from libs.runtime.sql import read_queries
from services.gateway.paging import PageQuery, cut
from services.gateway.read_models.catching_up import catch_up
from services.gateway.read_models.run_rows import READING

STATUSES: tuple[Status, ...] = get_args(Status)

_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
_END = datetime(9999, 12, 31, tzinfo=UTC)

Records: TypeAlias = "list[asyncpg.Record]"


class RunQuery(PageQuery, frozen=True, kw_only=True):
    """What the runs table may be asked for."""

    deployment_id: str | None = None
    flow_id: str | None = None
    status: Status | None = None
    session_id: str | None = None
    since: Annotated[datetime, msgspec.Meta(tz=True, description="Not before this time.")] | None = None
    until: Annotated[datetime, msgspec.Meta(tz=True, description="Before this time.")] | None = None


class RunTable:
    """Reads the table. Problem `unavailable` while PostgreSQL is away."""

    def __init__(self, log: EventLog, database: Database) -> None:
        self._log = log
        self._database = database
        self._sql = read_queries(Path(__file__).with_name("queries.sql"))

    async def page(self, workspace: str, query: RunQuery, deployments: Sequence[str]) -> dict[str, Any]:
        """A page of run objects. `deployments` narrows it to what a bound key may see; empty: all."""
        found = await self.find(workspace, query, deployments)
        runs = await asyncio.gather(*[self._read(RunKey(workspace, run_id)) for run_id in found])
        return cut(runs, query.limit, lambda run: (run.created_at, run.id), lambda run: run)

    async def find(self, workspace: str, query: RunQuery, deployments: Sequence[str] = ()) -> list[str]:
        """The ids of a page's runs, and of one more where there are more."""
        name, *arguments = search(workspace, query, deployments)
        return [row["id"] for row in await self.fetch(name, *arguments)]

    async def fetch(self, name: str, *arguments: object) -> Records:
        """The rows of a statement of `queries.sql`, once the table has come as far as the log is now."""
        pool = self._database.pool
        if pool is None:
            raise Problem("unavailable", "The runs table is not there yet; runs themselves are.")
        try:
            streams = [stream_of(shard) for shard in range(self._log.shards)]
            await catch_up(self._log.broker, pool, READING, streams)
            return await pool.fetch(self._sql[name], *arguments)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            raise Problem("unavailable", "The runs table cannot be read now; runs themselves go on.") from None

    async def _read(self, run: RunKey) -> Run:
        return run_of(fold([message.payload for message in await self._log.read(run)]))


def search(workspace: str, query: RunQuery, deployments: Sequence[str] = ()) -> tuple[Any, ...]:
    """The statement that finds what is asked for by an index made for it, and its arguments."""
    statuses = [query.status] if query.status else list(STATUSES)
    # `until` is a place too: before the first run of that moment.
    before = min(query.after or (_END, ""), (query.until or _END, ""))
    common = (workspace, statuses, query.since or _BEGINNING, *before, query.limit + 1)
    chosen = list(deployments)
    if query.deployment_id is not None:
        chosen = [query.deployment_id] if not deployments or query.deployment_id in deployments else []
    narrowed = bool(deployments) or query.deployment_id is not None
    if query.session_id is not None:
        return "find_runs_of_session", *common, query.session_id, query.flow_id, chosen if narrowed else None
    if narrowed:
        return "find_runs_of_deployments", *common, chosen, query.flow_id
    if query.flow_id is not None:
        return "find_runs_of_flow", *common, query.flow_id
    return "find_runs", *common
