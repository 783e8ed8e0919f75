"""The tables of deliveries and attempts: what was told to whom, what came of it, and when it is tried again."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import asyncpg
import msgspec

from libs.edge.problems import Problem
from libs.events.broker import Broker
from libs.events.deliveries import Channel, Delivery, decode_due
from libs.events.subjects import DELIVERIES
from libs.runtime.postgres import Database
from libs.runtime.sql import read_queries
from services.gateway.paging import PageQuery, cut
from services.gateway.read_models.catching_up import catch_up
from services.gateway.read_models.delivery_rows import READING

Status = Literal["pending", "delivered", "failed", "dropped"]

_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
_END = datetime(9999, 12, 31, tzinfo=UTC)
_AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


class DeliveryQuery(PageQuery, frozen=True, kw_only=True):
    """What the deliveries of a webhook may be asked for."""

    status: Status | None = None
    run_id: str | None = None
    since: Annotated[datetime, msgspec.Meta(tz=True, description="Of events not before this time.")] | None = None
    until: Annotated[datetime, msgspec.Meta(tz=True, description="Of events before this time.")] | None = None


class AnyDeliveryQuery(DeliveryQuery, frozen=True, kw_only=True):
    """The same for all deliveries of the workspace."""

    channel: Channel | None = None


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt: the receiver's status, the first kilobyte of its answer, how long it took."""

    id: str
    number: int
    at: datetime
    outcome: Literal["delivered", "failed"]
    status: int | None
    latency_seconds: float
    answer: str
    error: str | None


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event for one target. `id` is the `webhook-id` of every attempt; `next_attempt_at` when there is one to come.

    A delivery that is `pending` is tried again, one that `failed` is given up, one that was `dropped` has no target any
    more. `attempts` are there where one delivery is asked for, the newest first, at most 100.
    """

    id: str
    channel: Channel
    webhook_id: str | None
    target: str
    event: str
    run_id: str | None
    deployment_id: str | None
    status: Status
    attempt_count: int
    created_at: datetime
    updated_at: datetime
    next_attempt_at: datetime | None
    last_status: int | None
    error: str | None
    attempts: list[AttemptView] | msgspec.UnsetType = msgspec.UNSET


class DeliveryTable:
    """Reads the tables. Problem `unavailable` while PostgreSQL is away; deliveries go on meanwhile."""

    def __init__(self, broker: Broker, database: Database) -> None:
        self._broker = broker
        self._database = database
        self._sql = read_queries(Path(__file__).with_name("deliveries.sql"))

    async def page(
        self, workspace: str, query: DeliveryQuery, *, channel: Channel | None = None, webhook_id: str | None = None
    ) -> dict[str, Any]:
        """A page of deliveries, by the time of their events, newest first."""
        statuses = [query.status] if query.status else list(get_args(Status))
        before = min(query.after or (_END, ""), (query.until or _END, ""))
        common = (workspace, statuses, query.since or _BEGINNING, *before, query.limit + 1, channel, query.run_id)
        if query.run_id is not None:
            rows = await self._fetch("find_deliveries_of_run", *common, webhook_id)
        elif webhook_id is not None:
            rows = await self._fetch("find_deliveries_of_webhook", *common, webhook_id)
        else:
            rows = await self._fetch("find_deliveries", *common)
        return cut(rows, query.limit, lambda row: (row["created_at"], row["id"]), show)

    async def get(self, workspace: str, delivery_id: str) -> DeliveryView | None:
        """One delivery with its attempts."""
        rows = await self._fetch("get_delivery", workspace, delivery_id)
        if not rows:
            return None
        attempts = await self._fetch("list_attempts", workspace, delivery_id)
        names = AttemptView.__struct_fields__
        shown = [AttemptView(**{name: row[name] for name in names}) for row in attempts]
        return msgspec.structs.replace(show(rows[0]), attempts=shown)

    async def recall(self, workspace: str, delivery_id: str) -> Delivery | None:
        """A delivery as the log has it, to be sent again."""
        rows = await self._fetch("get_delivery", workspace, delivery_id)
        return decode_due(rows[0]["delivery"].encode())[0] if rows else None

    async def _fetch(self, name: str, *arguments: object) -> "list[asyncpg.Record]":
        pool = self._database.pool
        if pool is None:
            raise Problem("unavailable", "The table of deliveries is not there yet; deliveries go on.")
        try:
            await catch_up(self._broker, pool, READING, [DELIVERIES])
            return await pool.fetch(self._sql[name], *arguments)
        except _AWAY:
            raise Problem("unavailable", "The table of deliveries cannot be read now; deliveries go on.") from None


def show(row: asyncpg.Record) -> DeliveryView:
    """A row as callers see it."""
    return DeliveryView(
        id=row["id"],
        channel=row["channel"],
        webhook_id=row["webhook_id"],
        target=row["target"],
        event=row["event"],
        run_id=row["run_id"] or None,
        deployment_id=row["deployment_id"] or None,
        status=row["status"],
        attempt_count=row["attempts"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        next_attempt_at=row["next_at"],
        last_status=row["last_status"],
        error=row["error"],
    )
