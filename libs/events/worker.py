"""The consumer runner: takes messages of a durable consumer, calls a handler, and acknowledges for it.

A handler returns (done: acknowledged), raises `Retryable` (again later, on any process), or `Terminal` (never:
dead letter). Anything else it raises is a defect of ours and counts as Retryable. A message that was delivered
`max_attempts` times and still raises is poison: it goes to the dead-letter stream with the reason, and only when
it is stored there is it taken off the consumer. While a handler works its lease is renewed; when the process
dies the lease runs out and another process gets the message.

A handler that raises `Unavailable` is called again here, for as long as the log cannot be reached: an outage is not
the message's fault, and sent back it would use up the deliveries by which crashes are counted.

A durable consumer's name is a promise: renaming one replays everything.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from libs.events.broker import Broker, Unavailable
from libs.events.groups import parts_of
from libs.events.metrics import BURIED, RETRIED
from libs.events.pull import Delivery, Lost, StandingPull
from libs.events.subjects import DEAD_LETTERS, dead_subject
from libs.events.topology import ApiError, TopologyError, api
from libs.runtime.failures import Failure, Retryable, Terminal

Handler = Callable[[Delivery], Awaitable[None]]

_BACKOFF_SECONDS = (0.1, 0.5, 2.0, 5.0, 10.0)

log = structlog.get_logger()


class Superseded(Exception):
    """Somebody else works on this message: it is theirs to acknowledge, so nothing is said about it."""


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """What a durable consumer is: which messages of which stream, and how failures are met."""

    stream: str
    durable: str
    filter: str
    lease_seconds: float
    since: datetime | None = None
    """When the consumer is made: the time from which on it has messages; None: from the first one on."""
    max_attempts: int = 5
    """Deliveries after which a message whose handler raises is poison."""
    max_crashes: int = 50
    """Deliveries after which a message is poison unseen: its handler seems to kill the process."""


class _Created(msgspec.Struct, frozen=True):
    error: ApiError | None = None


class Worker:
    """Runs a handler for the messages of a durable consumer, up to `room()` more at a time."""

    def __init__(
        self,
        broker: Broker,
        subscription: Subscription,
        handler: Handler,
        room: Callable[[], int],
        on_poison: Callable[[Delivery, Failure], Awaitable[bool]] | None = None,
        concerns: Callable[[Delivery], bool] | None = None,
    ) -> None:
        """`on_poison` is told what no handler could take; answers whether that is a dead letter, or nothing is lost.

        `concerns`: whether a message is the handler's at all, known at a glance; others are done with at once.
        """
        self._broker = broker
        self._subscription = subscription
        self._handler = handler
        self._room = room
        self._on_poison = on_poison
        self._concerns = concerns
        self._running: dict[str, Delivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.pull: StandingPull | None = None

    @property
    def busy(self) -> int:
        """Messages being handled now."""
        return len(self._running)

    async def run(self, stopping: asyncio.Event, drain_seconds: float) -> None:
        """Pull and handle until `stopping`; then finish what is in hand, or hand it over after `drain_seconds`."""
        renewing = asyncio.create_task(self._renew_leases())
        pulling = asyncio.create_task(self._keep_pulling())
        until = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait((pulling, until), return_when=asyncio.FIRST_COMPLETED)
            if pulling.done():
                pulling.result()
        finally:
            until.cancel()
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)
            await self._drain(drain_seconds)
            renewing.cancel()

    async def _keep_pulling(self) -> None:
        while True:
            try:
                await ensure_consumer(self._broker, self._subscription)
                self.pull = StandingPull(
                    self._broker,
                    self._subscription.stream,
                    self._subscription.durable,
                    self._room,
                    self._on_message,
                )
                await self.pull.run()
            except (Lost, Unavailable) as error:
                log.warning("consumer lost", consumer=self._subscription.durable, reason=str(error))
                await asyncio.sleep(0.2)

    async def _drain(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2.0)

    def _on_message(self, delivery: Delivery) -> None:
        if self._concerns is not None and not self._concerns(delivery):
            with suppress(Unavailable):  # then it comes again
                self._broker.send(delivery.reply, b"+ACK")
            return
        self._running[delivery.reply] = delivery
        task = asyncio.create_task(self._handle(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, delivery: Delivery) -> None:
        try:
            if delivery.attempt > self._subscription.max_crashes:
                raise Terminal("node_failed", "handling this message ended the process too often")
            await self._call(delivery)
        except asyncio.CancelledError:
            await self._answer(delivery, b"-NAK")
            raise
        except Superseded:
            log.info("superseded", consumer=self._subscription.durable, subject=delivery.subject)
        except Retryable as failure:
            await self._again(delivery, failure)
        except Terminal as failure:
            await self._bury(delivery, failure)
        except Exception as error:
            log.exception("handler failed", consumer=self._subscription.durable, subject=delivery.subject)
            await self._again(delivery, Retryable("node_failed", f"{type(error).__name__} in a handler"))
        else:
            await self._answer(delivery, b"+ACK")
        finally:
            self._running.pop(delivery.reply, None)
            if self.pull is not None:
                self.pull.wake()

    async def _call(self, delivery: Delivery) -> None:
        tries = 0
        while True:
            try:
                return await self._handler(delivery)
            except Unavailable as failure:
                log.info("handler waits for the log", consumer=self._subscription.durable, reason=failure.message)
            tries += 1
            await asyncio.sleep(_backoff_seconds(tries))

    async def _again(self, delivery: Delivery, failure: Retryable) -> None:
        if delivery.attempt >= self._subscription.max_attempts:
            await self._bury(delivery, failure)
            return
        RETRIED.labels(self._subscription.durable).inc()
        pause = _backoff_seconds(delivery.attempt) if failure.after is None else failure.after
        await self._answer(delivery, b"-NAK " + msgspec.json.encode({"delay": int(pause * 1e9)}))

    async def _bury(self, delivery: Delivery, failure: Failure) -> None:
        try:
            for each in _by_run(delivery):
                if self._concerns is not None and not self._concerns(each):
                    continue
                if self._on_poison is None or await self._on_poison(each, failure):
                    await bury(self._broker, self._subscription, each, failure)
        except Exception:
            log.exception("a dead letter could not be stored", subject=delivery.subject)
            await self._answer(delivery, b'-NAK {"delay": 5000000000}')
        else:
            await self._answer(delivery, b"+TERM")

    async def _answer(self, delivery: Delivery, answer: bytes) -> None:
        try:
            await self._broker.publish(delivery.reply, answer)
        except Unavailable:
            # The lease runs out, and the message comes again: handlers survive running twice.
            log.info("acknowledgement not sent", subject=delivery.subject)

    async def _renew_leases(self) -> None:
        while True:
            await asyncio.sleep(self._subscription.lease_seconds / 3)
            for delivery in list(self._running.values()):
                await self._answer(delivery, b"+WPI")


def _by_run(delivery: Delivery) -> Iterator[Delivery]:
    """The message, or of a group's one for each run: a dead letter is about one."""
    if not delivery.subject.startswith("evt."):
        yield delivery
        return
    try:
        parts = list(parts_of(delivery.subject, delivery.payload))
    except (ValueError, msgspec.MsgspecError):
        yield delivery  # what cannot be taken apart is kept whole, or it would come again for ever
        return
    for part in parts:
        yield msgspec.structs.replace(delivery, subject=part.subject, payload=part.payload)


def _backoff_seconds(attempt: int) -> float:
    """How long to wait after the attempt that failed, 1 for the first."""
    return _BACKOFF_SECONDS[min(attempt, len(_BACKOFF_SECONDS)) - 1]


async def ensure_consumer(broker: Broker, subscription: Subscription) -> None:
    """Make the durable consumer, or change it to what is asked for."""
    config = {
        "durable_name": subscription.durable,
        "name": subscription.durable,
        "filter_subject": subscription.filter,
        "ack_policy": "explicit",
        "ack_wait": int(subscription.lease_seconds * 1e9),
        "max_deliver": -1,
        "max_ack_pending": 100_000,
        "max_waiting": 512,
        "replay_policy": "instant",
        **_beginning(subscription.since),
    }
    if subscription.since is not None and await _exists(broker, subscription):
        return  # where one that exists began cannot be changed
    call = f"CONSUMER.CREATE.{subscription.stream}.{subscription.durable}.{subscription.filter}"
    answer = await api(broker, call, {"stream_name": subscription.stream, "config": config}, _Created)
    if answer.error is None:
        return
    if answer.error.code >= 500:  # no leader, a full disk: what the server cannot do now, and not what it refuses
        raise Unavailable(answer.error.description)
    raise TopologyError(f"consumer {subscription.durable}: {answer.error.description}")


def _beginning(since: datetime | None) -> dict[str, str]:
    if since is None:
        return {"deliver_policy": "all"}
    return {"deliver_policy": "by_start_time", "opt_start_time": since.astimezone(UTC).isoformat()}


async def _exists(broker: Broker, subscription: Subscription) -> bool:
    info = await api(broker, f"CONSUMER.INFO.{subscription.stream}.{subscription.durable}", {}, _Created)
    return info.error is None


async def remove_consumer(broker: Broker, subscription: Subscription) -> None:
    """Take a durable consumer away, its place in the stream with it; nothing to do where there is none."""
    await api(broker, f"CONSUMER.DELETE.{subscription.stream}.{subscription.durable}", {}, _Created)


async def bury(broker: Broker, subscription: Subscription, delivery: Delivery, failure: Failure) -> None:
    """Keep a message and why it could not be handled in the dead-letter stream; returns when it is stored."""
    headers = {
        "Headgate-Reason": f"{failure.code}: {failure.message}"[:1000],
        "Headgate-Consumer": subscription.durable,
        "Headgate-Stream": subscription.stream,
        "Headgate-Sequence": str(delivery.sequence),
        "Headgate-Attempts": str(delivery.attempt),
        "Nats-Expected-Stream": DEAD_LETTERS,
    }
    subject = dead_subject(subscription.durable, delivery.subject)
    answer: Any = msgspec.json.decode((await broker.request(subject, delivery.payload, headers)).data)
    if "error" in answer:
        raise Unavailable(f"the dead-letter stream refused: {answer['error'].get('description', '')}")
    BURIED.labels(subscription.durable).inc()
    log.error("dead letter", consumer=subscription.durable, subject=delivery.subject, reason=failure.code)
