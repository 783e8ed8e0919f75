"""Timers: something that is to be done at a time, kept by the log, whatever becomes of the process that wished it.

A timer is a message that the server holds back: stored when `set_timer` returns, moved by the server to its `due`
subject when its time has come, and handled there by a `Worker` like any other message. So it outlives every process
and the server's own restarts; what came due while the server was down fires when it is up, and what came due while
no worker was there waits for one.

A timer fires once for each time it is set, and is handled at least once, as all messages are: its handler looks at
what is so and survives running twice, or after a cancel that came too late. What was handled is thrown away by
`keep_sweeping`; what nobody handled, after `KEPT`.
"""

import asyncio
from datetime import UTC, datetime

import msgspec
import structlog

from libs.events.broker import Broker, Unavailable
from libs.events.subjects import TIMERS, due_filter, due_subject, timer_subject
from libs.events.topology import ApiError, api
from libs.events.worker import Subscription

KEPT = "2160h"
"""How long a timer that came due is kept for a worker: 90 days, as dead letters are."""

MAX_PAYLOAD_BYTES = 64 * 1024
"""A timer says what to look at; what is so stands in the log."""

_FURTHEST = datetime(2200, 1, 1, tzinfo=UTC)
"""The server counts nanoseconds in 64 bits: what lies beyond them would be due at once."""

_ATTEMPT_SECONDS = 2.0
_SWEEP_SECONDS = 10.0

log = structlog.get_logger()


class _Ack(msgspec.Struct, frozen=True):
    error: ApiError | None = None


class _Place(msgspec.Struct, frozen=True):
    stream_seq: int = 0


class _Consumer(msgspec.Struct, frozen=True):
    ack_floor: _Place = _Place()
    error: ApiError | None = None


async def set_timer(
    broker: Broker, kind: str, timer_id: str, at: datetime, payload: bytes, *, patience_seconds: float = 10.0
) -> None:
    """Have `payload` come due at `at`, at once when that is past. Returns when it is stored.

    A timer of the same kind and id is replaced. Unavailable after `patience_seconds` without a clear answer: it may or
    may not be set, and setting it again does no harm. ValueError for a time without a zone and a payload too large.
    """
    if at.tzinfo is None:
        raise ValueError("a timer's time has a zone")
    headers = {
        "Nats-Schedule": f"@at {min(at, _FURTHEST).astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
        "Nats-Schedule-Target": due_subject(kind, timer_id),
        "Nats-Schedule-TTL": KEPT,
    }
    await _store(broker, timer_subject(kind, timer_id), payload, headers, patience_seconds)


async def due_now(broker: Broker, kind: str, timer_id: str, payload: bytes, *, patience_seconds: float = 10.0) -> None:
    """Have `payload` come due now; a timer of the same kind and id is cancelled in the same step."""
    headers = {
        "Nats-TTL": KEPT,
        "Nats-Scheduler": timer_subject(kind, timer_id),
        "Nats-Schedule-Next": "purge",
    }
    await _store(broker, due_subject(kind, timer_id), payload, headers, patience_seconds)


async def cancel_timer(broker: Broker, kind: str, timer_id: str) -> None:
    """Have it not come due, if it has not; nothing to do when there is none."""
    answer = await api(broker, f"STREAM.PURGE.{TIMERS}", {"filter": timer_subject(kind, timer_id)}, _Ack)
    if answer.error is not None:
        raise Unavailable(f"a timer could not be cancelled: {answer.error.description}")


def due_timers(kind: str, durable: str, lease_seconds: float) -> Subscription:
    """What a worker subscribes to that handles the timers of a kind; one durable consumer a kind, for it sweeps."""
    return Subscription(stream=TIMERS, durable=durable, filter=due_filter(kind), lease_seconds=lease_seconds)


async def keep_sweeping(broker: Broker, subscription: Subscription) -> None:
    """Throw away what the consumer has handled, every ten seconds, until cancelled.

    Beside each worker of a kind. One purge for many is a third of what deleting each would cost the server.
    """
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        try:
            await sweep(broker, subscription)
        except Unavailable as error:
            log.info("timers not swept", consumer=subscription.durable, reason=error.message)


async def sweep(broker: Broker, subscription: Subscription) -> None:
    """Throw away what the consumer has handled: all before the first message that it has not acknowledged."""
    consumer = await api(broker, f"CONSUMER.INFO.{TIMERS}.{subscription.durable}", {}, _Consumer)
    if consumer.error is not None or not consumer.ack_floor.stream_seq:
        return
    wanted = {"filter": subscription.filter, "seq": consumer.ack_floor.stream_seq + 1}
    answer = await api(broker, f"STREAM.PURGE.{TIMERS}", wanted, _Ack)
    if answer.error is not None:
        raise Unavailable(answer.error.description)


async def _store(
    broker: Broker, subject: str, payload: bytes, headers: dict[str, str], patience_seconds: float
) -> None:
    """Store one message, again while the answer is missing: the last on a subject is the only one."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"a timer's payload of {len(payload)} bytes")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_seconds
    pause = 0.02
    while True:
        try:
            answer = await broker.request(subject, payload, headers, _ATTEMPT_SECONDS)
            ack = msgspec.json.decode(answer.data, type=_Ack)
            if ack.error is None:
                return
            raise Unavailable(f"the server refused a timer: {ack.error.description}")
        except Unavailable:
            if loop.time() > deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.5)
