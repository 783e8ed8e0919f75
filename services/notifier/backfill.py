"""Tell a webhook what happened before: the log is the queue, so an endpoint added today can ask for last week's events.

A backfill is a timer's payload: which webhook, from when to when, and how far it has come in each stream. It does a
page at a time and comes due again with its new place, so it outlives every process, and one that is repeated after a
crash tells the same deliveries again, under the same ids.
"""

import asyncio

import msgspec

from libs.events.backfills import KIND, Wish
from libs.events.broker import Broker
from libs.events.deliveries import Delivery, ToWebhook, delivery_id
from libs.events.groups import parts_of
from libs.events.log import EventLog
from libs.events.managed import Webhook
from libs.events.pull import Delivery as Message
from libs.events.reads import read_page
from libs.events.run_events import RequestedData, RunEvent, decode_append
from libs.events.subjects import Kind, RunKey, stream_of, workspace_runs_filter
from libs.events.timers import due_now
from services.notifier.deliverer import Deliverer
from services.notifier.matching import event_name, wants
from services.notifier.stories import Untold, requested_of, story_of
from services.notifier.subscribers import Subscribers

_PAGE = 64


class Backfill:
    """Carries backfills out, a page each time it is called."""

    def __init__(self, broker: Broker, event_log: EventLog, subscribers: Subscribers, deliverer: Deliverer) -> None:
        self._broker = broker
        self._log = event_log
        self._subscribers = subscribers
        self._deliverer = deliverer

    async def on_due(self, message: Message) -> None:
        """Tell a page, and come back for the next one."""
        wish = msgspec.json.decode(message.payload, type=Wish)
        webhook = self._subscribers.webhook(wish.workspace, wish.webhook_id)
        if webhook is None:
            return
        subject = workspace_runs_filter(wish.shard, wish.workspace)
        page = await read_page(
            self._broker, stream_of(wish.shard), subject, sequence=wish.sequence, since=wish.since, batch=_PAGE
        )
        telling = []
        for stored in page:
            telling += [
                self._tell(wish, webhook, part.run, part.payload)
                for part in parts_of(stored.subject, stored.payload)
                if part.kind in (Kind.PROGRESS, Kind.ENDED)
            ]
        await asyncio.gather(*telling)
        following = _next(wish, page[-1].sequence if page else 0, self._log.shards)
        if following is not None:
            await due_now(self._broker, KIND, wish.id, msgspec.json.encode(following))

    async def _tell(self, wish: Wish, webhook: Webhook, run: RunKey, payload: bytes) -> None:
        wanted = [event for event in decode_append(payload).events if _within(wish, event)]
        if not wanted:
            return
        try:
            requested = await requested_of(self._log, run)
        except Untold:
            return
        told = [(_delivery(wish, webhook, requested.data, event), story_of(requested, event)) for event in wanted]
        await self._deliverer.take([(delivery, story) for delivery, story in told if delivery is not None])


def _within(wish: Wish, event: RunEvent) -> bool:
    return event_name(event) is not None and wish.since <= event.at < wish.until


def _delivery(wish: Wish, webhook: Webhook, requested: RequestedData, event: RunEvent) -> Delivery | None:
    name = event_name(event)
    if name is None or not wants(webhook, name, requested):
        return None
    target = ToWebhook(webhook_id=webhook.id)
    return Delivery(
        id=delivery_id(wish.workspace, target, event.run_id, event.seq, name),
        workspace=wish.workspace,
        target=target,
        event=name,
        created_at=event.at,
        flow_id=requested.flow_id,
        deployment_id=requested.deployment_id,
        run_id=event.run_id,
        seq=event.seq,
        asked_for=1,
    )


def _next(wish: Wish, reached: int, shards: int) -> Wish | None:
    """Where the backfill goes on: behind the page, or in the next stream after an empty one; None: it is through."""
    if reached:
        return msgspec.structs.replace(wish, sequence=reached + 1)
    if wish.shard + 1 < shards:
        return msgspec.structs.replace(wish, shard=wish.shard + 1, sequence=0)
    return None
