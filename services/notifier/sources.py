"""Where deliveries come from: ends of runs, steps of runs where somebody wants those, and timers that came due.

Each is a durable consumer that the notifiers share; a message is acknowledged when every delivery that follows from it
lies in the log. Steps are read only while a webhook asks for them, from the time of the first that did: nearly every
installation is spared a message for every step of every run.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from libs.events.backfills import KIND as BACKFILL
from libs.events.broker import Broker
from libs.events.deliveries import KIND, Delivery, decode_due
from libs.events.groups import Part, parts_of
from libs.events.log import EventLog
from libs.events.pull import Delivery as Message
from libs.events.reads import ask_leader
from libs.events.retellings import KIND as RETELLING
from libs.events.retellings import Retelling
from libs.events.run_events import decode_append
from libs.events.subjects import Kind, kind_filter, parse_run_subject, stream_of
from libs.events.timers import due_timers, keep_sweeping
from libs.events.worker import Handler, Subscription, Worker, remove_consumer
from libs.runtime.settings import Settings
from services.notifier.backfill import Backfill
from services.notifier.channels import Story
from services.notifier.deliverer import Deliverer
from services.notifier.filling import filled
from services.notifier.matching import deliveries_of, may_match
from services.notifier.stories import requested_of, story_of
from services.notifier.subscribers import Shelf, Subscribers

ENDS = "notifier-ends"
STEPS = "notifier-steps"
DUE = "notifier-due"
BACKFILLS = "notifier-backfills"
RETELLINGS = "notifier-retellings"
"""Names of consumers. Promises: renaming one tells everything again."""

_ROOM = 64
"""Messages that one consumer may have in hand here. Half a second is the longest that one is kept for a receiver that
hangs, which is asked once in a while; and what is in hand is read from the log at the same time."""

_BEFORE = timedelta(minutes=1)

log = structlog.get_logger()


class Sources:
    """The handlers of what a notifier consumes."""

    def __init__(self, event_log: EventLog, subscribers: Subscribers, deliverer: Deliverer) -> None:
        self._log = event_log
        self._subscribers = subscribers
        self._deliverer = deliverer

    def concerns(self, message: Message) -> bool:
        """Whether anybody may want to hear of an append: nearly always nobody does, and it is done with at a glance.

        That took 0.03 to 0.12 ms of the notifier for each run of everybody's, in tasks that had nothing to do.
        """
        run, _ = parse_run_subject(message.subject)
        return may_match(message.payload, self._subscribers.shelf(run.workspace))

    async def on_appended(self, message: Message) -> None:
        """Deliver what an append says, of one run or of several, to everybody who wants to hear of it."""
        await self._tell(parts_of(message.subject, message.payload))

    async def on_retelling(self, message: Message) -> None:
        """Do so again for an append that somebody names: one that could not be told when it came."""
        wish = msgspec.json.decode(message.payload, type=Retelling)
        stored = await ask_leader(self._log.broker, wish.stream, {"seq": wish.sequence})
        if stored is not None:
            parts = parts_of(stored.subject, stored.payload)
            await self._tell([part for part in parts if wish.run_id in (None, part.run.run_id)])

    async def _tell(self, parts: Iterable[Part]) -> None:
        telling: list[tuple[Delivery, Story | None]] = []
        for part in parts:
            shelf = self._subscribers.shelf(part.run.workspace)
            if may_match(part.payload, shelf):
                telling += await self._told(part, shelf)
        if telling:
            await self._deliverer.take(telling)

    async def _told(self, part: Part, shelf: Shelf | None) -> list[tuple[Delivery, Story | None]]:
        run = part.run
        requested = await requested_of(self._log, run)
        told = deliveries_of(run.workspace, run.run_id, requested.data, decode_append(part.payload), shelf)
        return [
            (
                await filled(self._log, each.delivery) if each.templated else each.delivery,
                story_of(requested, each.event),
            )
            for each in told
        ]

    async def on_due(self, message: Message) -> None:
        """Take deliveries up again."""
        await self._deliverer.take([(delivery, None) for delivery in decode_due(message.payload)])


@asynccontextmanager
async def consuming(
    broker: Broker,
    event_log: EventLog,
    subscribers: Subscribers,
    deliverer: Deliverer,
    settings: Settings,
    stopping: asyncio.Event,
) -> AsyncIterator[list[Worker]]:
    """Consume for as long as the context is open; gives the workers that have to run for the notifier to be ready."""
    sources = Sources(event_log, subscribers, deliverer)
    backfill = Backfill(broker, event_log, subscribers, deliverer)
    lease = settings.lease_seconds
    due, backfills = due_timers(KIND, DUE, lease), due_timers(BACKFILL, BACKFILLS, lease)
    retellings = due_timers(RETELLING, RETELLINGS, lease)
    ends = [_of_runs(shard, ENDS, Kind.ENDED, lease) for shard in _shards(event_log)]
    workers = [_worker(broker, subscription, sources.on_appended, concerns=sources.concerns) for subscription in ends]
    workers += [_worker(broker, due, sources.on_due), _worker(broker, backfills, backfill.on_due, room=4)]
    workers += [_worker(broker, retellings, sources.on_retelling, room=4)]
    async with asyncio.TaskGroup() as group:
        kept = [group.create_task(keep_sweeping(broker, each)) for each in (due, backfills, retellings)]
        kept.append(group.create_task(_steps(broker, event_log, subscribers, sources, settings)))
        for worker in workers:
            group.create_task(worker.run(stopping, settings.drain_seconds))
        try:
            yield workers
        finally:
            stopping.set()
            for task in kept:
                task.cancel()


async def _steps(
    broker: Broker, event_log: EventLog, subscribers: Subscribers, sources: Sources, settings: Settings
) -> None:
    """Consume steps while somebody wants them, until cancelled; where nobody does the consumers are taken away."""
    while True:
        await subscribers.until_steps(wanted=True)
        since = (subscribers.steps_since or datetime.now(UTC)) - _BEFORE
        subscriptions = [
            _of_runs(shard, STEPS, Kind.PROGRESS, settings.lease_seconds, since) for shard in _shards(event_log)
        ]
        log.info("steps of runs are wanted", since=since.isoformat())
        enough = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for subscription in subscriptions:
                group.create_task(
                    _worker(broker, subscription, sources.on_appended, concerns=sources.concerns).run(
                        enough, settings.drain_seconds
                    )
                )
            await subscribers.until_steps(wanted=False)
            enough.set()
        for subscription in subscriptions:
            await remove_consumer(broker, subscription)


def _of_runs(shard: int, durable: str, kind: Kind, lease_seconds: float, since: datetime | None = None) -> Subscription:
    return Subscription(
        stream=stream_of(shard),
        durable=durable,
        filter=kind_filter(shard, kind),
        lease_seconds=lease_seconds,
        since=since,
    )


def _worker(
    broker: Broker,
    subscription: Subscription,
    handler: Handler,
    room: int = _ROOM,
    concerns: Callable[[Message], bool] | None = None,
) -> Worker:
    def free() -> int:
        return room - found.busy

    found = Worker(broker, subscription, handler, free, concerns=concerns)
    return found


def _shards(event_log: EventLog) -> range:
    return range(event_log.shards)
