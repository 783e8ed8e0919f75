"""Sees deliveries to their end: an attempt now, or a timer for a later one; what came of it is stored, then forgotten.

What a delivery waits for lies in the log at every moment: its run's message, or its timer, is acknowledged only when
the attempt is recorded and the next one is set. An attempt that takes long is not waited for: a timer is set that comes
after it, so that it is made again if this process dies, and its outcome puts that timer right.
"""

import asyncio
import random
from collections.abc import Awaitable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import structlog
from prometheus_client import Counter, Gauge, Histogram

from libs.events.broker import Broker
from libs.events.deliveries import KIND, Attempted, Delivery, Dropped, bundles, encode_delivery
from libs.events.deliveries import Channel as ChannelName
from libs.events.log import EventLog
from libs.events.timers import MAX_PAYLOAD_BYTES, cancel_timer, set_timer
from libs.runtime.ids import new_id
from libs.runtime.tracing import Attributes, span
from services.notifier.alarm import Alarm
from services.notifier.channels import Channel, Outcome, Story
from services.notifier.endpoints import TEST, Endpoints
from services.notifier.lanes import Lane, Lanes, Probes
from services.notifier.recorder import Recorder
from services.notifier.retries import next_attempt
from services.notifier.stories import Untold, read_story

_GUARD_AFTER_SECONDS = 0.5
_MAX_UNDER_WAY = 4096

_outcomes = Counter("headgate_deliveries_total", "Attempts at deliveries that ended.", ["channel", "outcome"])
_seconds = Histogram(
    "headgate_delivery_attempt_duration_seconds",
    "How long receivers took to answer, or not to.",
    ["channel"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)
_active = Gauge("headgate_delivery_attempts_active", "Attempts at deliveries under way now.")

log = structlog.get_logger()


class Attempt:
    """One attempt under way, and whether a timer stands behind it."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.timer = asyncio.Lock()
        """Held by whoever sets or removes the delivery's timer: the attempt's end has the last word."""
        self.guarded = False
        self.over = False


class Deliverer:
    """Makes attempts. `take` is called for a delivery as often as it comes, from wherever it comes.

    `guard_seconds` is longer than any attempt takes: when a guard is due, the attempt that it guards is over, or the
    process is that made it.
    """

    def __init__(
        self,
        broker: Broker,
        event_log: EventLog,
        channels: Mapping[ChannelName, Channel],
        endpoints: Endpoints,
        alarm: Alarm,
        schedule: Sequence[float],
        guard_seconds: float,
    ) -> None:
        self._broker = broker
        self._log = event_log
        self._channels = channels
        self._endpoints = endpoints
        self._alarm = alarm
        self._schedule = schedule
        self._guard_seconds = guard_seconds
        self._recorder = Recorder(broker)
        self._lanes = Lanes()
        self._probes = Probes()
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, told: Sequence[tuple[Delivery, Story | None]]) -> None:
        """Make attempts, or see that they are made later; returns when whichever it is lies in the log.

        Those whose receivers are well go first. A delivery without a story has it read. Unavailable when the log cannot
        be reached: the deliveries then come again.
        """
        open_ones = [each for each in told if not self._endpoints.closed(each[0])]
        gone = [delivery for delivery, _ in told if self._endpoints.closed(delivery)]
        begun, waiting, refused = self._sort(open_ones)
        entered = await asyncio.gather(*begun, *waiting, *map(self._drop, gone), return_exceptions=True)
        late = [delivery for delivery in entered if isinstance(delivery, Delivery)]
        await self._put_off([*refused, *late])
        for failure in entered:
            if isinstance(failure, BaseException):
                raise failure

    async def close(self, seconds: float) -> None:
        """Give the attempts under way time to end; those that do not are made again elsewhere."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()

    def _lane(self, delivery: Delivery) -> Lane:
        return self._lanes.get(f"{delivery.channel} {self._channels[delivery.channel].lane(delivery)}")

    def _sort(
        self, told: Sequence[tuple[Delivery, Story | None]]
    ) -> tuple[list[Awaitable[Delivery | None]], list[Awaitable[Delivery | None]], list[Delivery]]:
        """Attempts at receivers that are well, attempts at those in trouble, and what those have no place for."""
        well: list[Awaitable[Delivery | None]] = []
        troubled: list[Awaitable[Delivery | None]] = []
        refused: list[Delivery] = []
        for delivery, story in told:
            channel, lane = self._channels[delivery.channel], self._lane(delivery)
            if not lane.in_trouble:
                well.append(self._enter(channel, lane, delivery, story))
            elif lane.may_probe and self._probes.take(asyncio.get_running_loop().time()):
                troubled.append(self._enter(channel, lane, delivery, story))
            else:
                refused.append(delivery)
        return well, troubled, refused

    async def _enter(self, channel: Channel, lane: Lane, delivery: Delivery, story: Story | None) -> Delivery | None:
        """One attempt, waited for as long as it is not late; the delivery itself where there is no place for it."""
        if len(self._tasks) >= _MAX_UNDER_WAY or not await lane.enter():
            return delivery
        await self._guard(self._begin(channel, lane, delivery, story))
        return None

    def _begin(
        self, channel: Channel, lane: Lane, delivery: Delivery, story: Story | None
    ) -> tuple[Attempt, Lane, asyncio.Task[None]]:
        attempt = Attempt(delivery)
        task = asyncio.create_task(self._attempt(attempt, channel, lane, story))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        _active.set(len(self._tasks))
        return attempt, lane, task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        _active.set(len(self._tasks))
        if not task.cancelled() and task.exception() is not None:
            # Whoever waited has it too; who did not has a timer.
            log.warning("attempt not recorded", reason=type(task.exception()).__name__)

    async def _guard(self, begun: tuple[Attempt, Lane, asyncio.Task[None]]) -> None:
        """Wait for the attempt's end, or until a timer stands behind it."""
        attempt, lane, task = begun
        await asyncio.wait((task,), timeout=_GUARD_AFTER_SECONDS)
        if not task.done():
            lane.late()
            async with attempt.timer:
                if not attempt.over:
                    await self._set_timer(attempt.delivery, datetime.now(UTC) + timedelta(seconds=self._guard_seconds))
                    attempt.guarded = True
                    return
        await task

    async def _attempt(self, attempt: Attempt, channel: Channel, lane: Lane, story: Story | None) -> None:
        loop = asyncio.get_running_loop()
        began, outcome = loop.time(), Outcome(delivered=False)
        try:
            outcome = await self._send(attempt.delivery, channel, story)
        finally:
            elapsed = loop.time() - began
            lane.leave(elapsed, well=outcome.delivered)
        await self._settle(attempt, outcome, elapsed)

    async def _send(self, delivery: Delivery, channel: Channel, story: Story | None) -> Outcome:
        told: Attributes = {
            "headgate.run.id": delivery.run_id,
            "headgate.delivery.id": delivery.id,
            "headgate.delivery.attempt": delivery.attempts + 1,
        }
        with span(f"deliver {delivery.channel}", delivery.trace, "CLIENT", told) as traced:
            outcome = await self._attempt_to_send(delivery, channel, story)
            if traced is not None and not outcome.delivered:
                traced.fail("not_delivered" if outcome.status is None else str(outcome.status))
            return outcome

    async def _attempt_to_send(self, delivery: Delivery, channel: Channel, story: Story | None) -> Outcome:
        try:
            if story is None and delivery.run_id and delivery.event != TEST:
                story = await read_story(self._log, delivery)
            return await channel.send(delivery, channel.compose(delivery, story))
        except Untold:
            return Outcome(delivered=False, error="the log has no such event", final=True)

    async def _settle(self, attempt: Attempt, outcome: Outcome, elapsed: float) -> None:
        """Set the next timer, or remove the one that stands; then record what came of the attempt."""
        now, before = datetime.now(UTC), attempt.delivery
        delivery = msgspec.structs.replace(before, attempts=before.attempts + 1)
        next_at = next_attempt(self._schedule, delivery.attempts, outcome, now, random.random())
        if delivery.event == TEST:
            next_at = None
        disabled = await self._endpoints.after(delivery, outcome, now)
        if disabled is not None:
            await self._alarm.disabled(delivery, disabled, now)
        if next_at is None and not outcome.delivered:
            await self._alarm.given_up(delivery, outcome.error or "", now)
        async with attempt.timer:
            attempt.over = True
            if next_at is not None:
                await self._set_timer(delivery, next_at)
            elif attempt.guarded or delivery.asked_for:
                await cancel_timer(self._broker, KIND, delivery.id)
        fact = Attempted(
            at=now,
            id=new_id("att"),
            delivery=delivery,
            number=delivery.attempts,
            outcome="delivered" if outcome.delivered else "failed",
            status=outcome.status,
            latency_seconds=round(elapsed, 6),
            answer=outcome.answer,
            error=outcome.error,
            next_at=next_at,
        )
        await self._recorder.record(delivery.workspace, fact)
        _outcomes.labels(delivery.channel, _outcome(outcome, next_at)).inc()
        _seconds.labels(delivery.channel).observe(elapsed)

    async def _put_off(self, deliveries: Sequence[Delivery]) -> None:
        """Have them come again when there may be room, many by one timer: at the turn of the last."""
        if not deliveries:
            return
        now = asyncio.get_running_loop().time()
        turn = max(self._lane(each).turn(now) for each in deliveries)
        at = datetime.now(UTC) + timedelta(seconds=turn)
        for bundle in bundles(deliveries, MAX_PAYLOAD_BYTES):
            await set_timer(self._broker, KIND, new_id("bdl"), at, bundle)

    async def _drop(self, delivery: Delivery) -> None:
        reason = self._endpoints.closed(delivery) or ""
        fact = Dropped(at=datetime.now(UTC), delivery=delivery, reason=reason)
        await self._recorder.record(delivery.workspace, fact)

    async def _set_timer(self, delivery: Delivery, at: datetime) -> None:
        await set_timer(self._broker, KIND, delivery.id, at, encode_delivery(delivery))


def _outcome(outcome: Outcome, next_at: datetime | None) -> str:
    if outcome.delivered:
        return "delivered"
    return "given_up" if next_at is None else "failed"
