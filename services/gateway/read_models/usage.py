"""What was used, added up from the runs table over a span of time: by deployment, by key, by day; for one deployment.

A run counts at the time it was asked for. `requests` are runs that were accepted, `runs` those of them that have begun
(a batch's wait for a slot before), `errors` those that failed. Tokens and cost count when a run has ended, durations
when it has completed or failed. All of it follows from the events of the log, and adds up to them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import asyncpg
import msgspec

from libs.events.run import Status
from services.gateway.read_models.runs import STATUSES, RunTable

GroupBy = Literal["deployment", "key", "day"]

MAX_GROUPS = 10_000


class TooManyGroups(Exception):
    """More groups than an answer may hold; a shorter span of time has fewer."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """From `since` on, and before `until`."""

    since: datetime
    until: datetime


class UsageRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one deployment, key or day (UTC) used. Durations are null where no run has completed or failed."""

    deployment_id: str | None = None
    key_id: str | None = None
    day: str | None = None
    requests: int
    runs: int
    errors: int
    input_tokens: int
    output_tokens: int
    cost_usd: float
    p50_seconds: float | None
    p95_seconds: float | None


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """How a deployment did. `error_rate` is the share of the ended runs that failed, 0 to 1."""

    deployment_id: str
    since: datetime
    until: datetime
    requests: int
    runs: dict[Status, int]
    error_rate: float
    p50_seconds: float | None
    p95_seconds: float | None
    input_tokens: int
    output_tokens: int
    cost_usd: float
    last_call_at: datetime | None
    """The last call of all, whenever it was; null: never called."""


async def read_usage(
    table: RunTable, workspace: str, group_by: GroupBy, span: Span, deployments: Sequence[str]
) -> list[UsageRow]:
    """A row a group: days in their order, the others by how much they were used. TooManyGroups.

    `deployments` narrows it to what a bound key may see; empty: all.
    """
    arguments = (workspace, list(STATUSES), span.since, span.until, list(deployments) or None, group_by)
    found = await table.fetch("add_up_usage", *arguments, MAX_GROUPS + 1)
    if len(found) > MAX_GROUPS:
        raise TooManyGroups
    if group_by == "day":
        return [_row(record, "day") for record in sorted(found, key=lambda each: each["grouped"])]
    found = sorted(found, key=lambda each: (-each["requests"], each["grouped"]))
    return [_row(record, f"{group_by}_id") for record in found]


async def read_stats(table: RunTable, workspace: str, deployment_id: str, span: Span) -> Stats:
    """The deployment's figures over the span."""
    statuses = list(STATUSES)
    (record,) = await table.fetch("add_up_deployment", workspace, statuses, span.since, span.until, deployment_id)
    (latest,) = await table.fetch("last_call", workspace, statuses, deployment_id)
    ended = record["completed"] + record["failed"] + record["cancelled"]
    last: datetime | None = latest["max"]
    return Stats(
        deployment_id=deployment_id,
        since=span.since,
        until=span.until,
        requests=record["requests"],
        runs={status: record[status] for status in STATUSES},
        error_rate=round(record["failed"] / ended, 6) if ended else 0.0,
        last_call_at=last.astimezone(UTC) if last else None,
        **_models_and_times(record),
    )


def _row(record: asyncpg.Record, group: str) -> UsageRow:
    counts = {name: record[name] for name in ("requests", "runs", "errors")}
    return UsageRow(**{group: record["grouped"]}, **counts, **_models_and_times(record))


def _models_and_times(record: asyncpg.Record) -> dict[str, Any]:
    p50, p95 = record["seconds"] or (None, None)
    return {
        "input_tokens": record["input_tokens"],
        "output_tokens": record["output_tokens"],
        "cost_usd": round(record["cost_usd"], 10),
        "p50_seconds": None if p50 is None else round(p50, 6),
        "p95_seconds": None if p95 is None else round(p95, 6),
    }
