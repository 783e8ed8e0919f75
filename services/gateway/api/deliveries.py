"""Deliveries: what was told to whom, what came of it; and telling it again, one or all of a span of time."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec

from libs.edge.bodies import invalid
from libs.edge.problems import Detail, not_found
from libs.edge.routes import Call, Reply, Route
from libs.events.backfills import KIND as BACKFILL
from libs.events.backfills import Wish
from libs.events.deliveries import KIND, Delivery, encode_delivery
from libs.events.timers import due_now
from libs.runtime.ids import new_id
from services.gateway.api.webhooks import find_webhook, webhook_route
from services.gateway.read_models.deliveries import AnyDeliveryQuery, DeliveryQuery, DeliveryView
from services.gateway.state import Gateway

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_PAGE = 100


class DeliveryList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of deliveries."""

    data: list[DeliveryView]
    next_cursor: str | None


class RangeBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events: those from `since` on and before `until` (now); `failed` ones, or `all`, told or not."""

    since: Moment
    until: Moment | None = None
    which: Literal["failed", "all"] = "failed"


class RangeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How many deliveries are sent again; null: as many as the log has, a page after the other."""

    deliveries: int | None


async def list_deliveries(call: Call[Gateway]) -> Reply:
    """Everything that was told outside: webhooks, callbacks, emails."""
    query: AnyDeliveryQuery = call.query
    return Reply(body=await call.app.deliveries.page(call.caller.workspace, query, channel=query.channel))


async def list_webhook_deliveries(call: Call[Gateway]) -> Reply:
    """What one webhook was told."""
    found = find_webhook(call)
    return Reply(body=await call.app.deliveries.page(found.workspace, call.query, webhook_id=found.id))


async def get_delivery(call: Call[Gateway]) -> Reply:
    """One delivery with its attempts: status, latency, the first kilobyte of each answer."""
    return Reply(body=await _find(call))


async def redeliver(call: Call[Gateway]) -> Reply:
    """Send it again now, under the same id and with the same body; should it fail, it is tried like a new one."""
    workspace, delivery_id = call.caller.workspace, call.path("delivery_id")
    delivery = await call.app.deliveries.recall(workspace, delivery_id)
    if delivery is None:
        raise not_found("delivery")
    await _send_again(call, delivery)
    return Reply(status=202, body=msgspec.structs.replace(await _find(call), status="pending"))


async def redeliver_range(call: Call[Gateway]) -> Reply:
    """Send what failed, or everything, of a span of time again; a new webhook gets what it was too late for."""
    found, body = find_webhook(call), call.body
    until = body.until or datetime.now(UTC)
    if until <= body.since:
        raise invalid(Detail(pointer="/until", detail="must be later than `since`"))
    if body.which == "failed":
        return Reply(status=202, body=RangeAnswer(deliveries=await _failed_again(call, found.id, body.since, until)))
    wish = Wish(id=new_id("bkf"), workspace=found.workspace, webhook_id=found.id, since=body.since, until=until)
    await due_now(call.app.broker, BACKFILL, wish.id, msgspec.json.encode(wish))
    return Reply(status=202, body=RangeAnswer(deliveries=None))


async def _failed_again(call: Call[Gateway], webhook_id: str, since: datetime, until: datetime) -> int:
    count, cursor = 0, None
    while True:
        query = DeliveryQuery(status="failed", since=since, until=until, limit=_PAGE, cursor=cursor)
        page = await call.app.deliveries.page(call.caller.workspace, query, webhook_id=webhook_id)
        for shown in page["data"]:
            delivery = await call.app.deliveries.recall(call.caller.workspace, shown.id)
            if delivery is not None:
                await _send_again(call, delivery)
                count += 1
        cursor = page["next_cursor"]
        if cursor is None:
            return count


async def _send_again(call: Call[Gateway], delivery: Delivery) -> None:
    again = msgspec.structs.replace(delivery, attempts=0, asked_for=delivery.asked_for + 1)
    await due_now(call.app.broker, KIND, again.id, encode_delivery(again))


async def _find(call: Call[Gateway]) -> DeliveryView:
    found = await call.app.deliveries.get(call.caller.workspace, call.path("delivery_id"))
    if found is None:
        raise not_found("delivery")
    return found


ROUTES: Sequence[Route] = (
    webhook_route(
        "GET",
        "/v1/webhooks/{webhook_id}/deliveries",
        list_webhook_deliveries,
        "What a webhook was told",
        query=DeliveryQuery,
        answer=DeliveryList,
    ),
    webhook_route(
        "POST",
        "/v1/webhooks/{webhook_id}/redeliver",
        redeliver_range,
        "Send what failed, or everything, of a span of time again",
        body=RangeBody,
        answer=RangeAnswer,
        status=202,
    ),
    webhook_route(
        "GET",
        "/v1/deliveries",
        list_deliveries,
        "What was told outside: webhooks, callbacks, emails",
        query=AnyDeliveryQuery,
        answer=DeliveryList,
    ),
    webhook_route(
        "GET", "/v1/deliveries/{delivery_id}", get_delivery, "One delivery, its attempts", answer=DeliveryView
    ),
    webhook_route(
        "POST",
        "/v1/deliveries/{delivery_id}/redeliver",
        redeliver,
        "Send a delivery again now",
        answer=DeliveryView,
        status=202,
    ),
)
