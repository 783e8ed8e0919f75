"""What was used, by deployment, key or day, and how one deployment does."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from libs.edge.bodies import invalid
from libs.edge.problems import Detail
from libs.edge.routes import Call, Reply, Route
from services.gateway.api.deployments import find
from services.gateway.read_models.usage import (
    MAX_GROUPS,
    GroupBy,
    Span,
    Stats,
    TooManyGroups,
    UsageRow,
    read_stats,
    read_usage,
)
from services.gateway.state import Gateway

_STATS_SPAN = timedelta(hours=24)
_USAGE_SPAN = timedelta(days=30)
_FIRST = datetime(1, 1, 1, tzinfo=UTC)

Since = Annotated[datetime, msgspec.Meta(tz=True, description="Runs asked for at this time or later.")]
Until = Annotated[datetime, msgspec.Meta(tz=True, description="Runs asked for before this time; without it: now.")]


class SpanQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Over which time. Without `since`: the last 24 hours."""

    since: Since | None = None
    until: Until | None = None


class UsageQuery(SpanQuery, frozen=True, kw_only=True):
    """By what, and over which time. Without `since`: the last 30 days."""

    group_by: GroupBy


class UsageList(msgspec.Struct, frozen=True, kw_only=True):
    """Every group: one page holds them all."""

    data: list[UsageRow]
    next_cursor: None = None


async def get_usage(call: Call[Gateway]) -> Reply:
    """Requests, runs, errors, tokens, cost and durations by deployment, key or day (UTC).

    A key that is bound to deployments sees theirs.
    """
    query: UsageQuery = call.query
    span = _span(query, _USAGE_SPAN)
    try:
        rows = await read_usage(call.app.runs, call.caller.workspace, query.group_by, span, call.caller.deployment_ids)
    except TooManyGroups:
        detail = f"there are more than {MAX_GROUPS} groups; ask for less time"
        raise invalid(Detail(pointer="/since", detail=detail)) from None
    return Reply(body=UsageList(data=rows))


async def get_stats(call: Call[Gateway]) -> Reply:
    """How a deployment did: requests, runs by outcome, error rate, durations, tokens, cost, and its last call."""
    deployment = find(call)
    span = _span(call.query, _STATS_SPAN)
    return Reply(body=await read_stats(call.app.runs, deployment.workspace, deployment.id, span))


def _span(query: SpanQuery, length: timedelta) -> Span:
    """The span that is asked for. Problem `invalid_input` where it ends before it begins."""
    until = (query.until or datetime.now(UTC)).astimezone(UTC)
    default = until - length if until - _FIRST > length else _FIRST
    since = (query.since or default).astimezone(UTC)
    if since > until:
        raise invalid(Detail(pointer="/since", detail="is later than `until`"))
    return Span(since=since, until=until)


ROUTES = (
    Route(
        method="GET",
        path="/v1/usage",
        handler=get_usage,
        summary="What was used, by deployment, key or day",
        tag="usage",
        permission="read",
        query=UsageQuery,
        answer=UsageList,
    ),
    Route(
        method="GET",
        path="/v1/deployments/{deployment_id}/stats",
        handler=get_stats,
        summary="How a deployment does",
        tag="usage",
        permission="read",
        query=SpanQuery,
        answer=Stats,
    ),
)
