"""How everything does, in the words of the API. Pure."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from libs.events.roll import Present
from libs.events.standing import Consumer, Stream
from libs.events.subjects import DEAD_LETTERS
from services.gateway.health.findings import Finding, judge, seconds_since
from services.gateway.health.reading import Disk, Health, Projection


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for a service: messages that nobody was given, those in somebody's hands, and the oldest one's age."""

    consumer: str
    pending: int
    in_hand: int
    oldest_seconds: float


class Behind(msgspec.Struct, frozen=True, kw_only=True):
    """A table, how many messages of a stream it lacks, and for how long."""

    table: str
    stream: str
    messages: int
    seconds: float


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A stream of the log; `incomplete` names the servers whose copy of it is."""

    stream: str
    messages: int
    bytes: int
    incomplete: list[str]


class OperationsStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How everything does. `findings` says what is wrong and what to do; none: all is well."""

    at: datetime
    findings: list[Finding]
    services: list[Present]
    waiting: list[Waiting]
    tables: list[Behind] | None
    streams: list[Held]
    log_bytes: int
    log_limit_bytes: int | None
    disk: Disk | None
    dead_letters: int


def status_of(present: Sequence[Present], health: Health, now: datetime) -> OperationsStatus:
    """What was read, added up for people, and judged."""
    standing = health.standing
    return OperationsStatus(
        at=now,
        findings=judge(present, health, now),
        services=list(present),
        waiting=_waiting(standing.consumers, now),
        tables=None if health.projections is None else [_behind(each, now) for each in health.projections],
        streams=[_held(each) for each in standing.streams],
        log_bytes=standing.storage_bytes,
        log_limit_bytes=standing.storage_limit_bytes,
        disk=health.disk,
        dead_letters=next((each.messages for each in standing.streams if each.name == DEAD_LETTERS), 0),
    )


def _waiting(consumers: Sequence[Consumer], now: datetime) -> list[Waiting]:
    """A consumer of several streams is one that waits."""
    found: dict[str, Waiting] = {}
    for each in consumers:
        known = found.get(each.name, Waiting(consumer=each.name, pending=0, in_hand=0, oldest_seconds=0.0))
        found[each.name] = Waiting(
            consumer=each.name,
            pending=known.pending + each.pending,
            in_hand=known.in_hand + each.unacknowledged,
            oldest_seconds=max(known.oldest_seconds, round(seconds_since(each.oldest_at, now), 3)),
        )
    return list(found.values())


def _behind(projection: Projection, now: datetime) -> Behind:
    return Behind(
        table=projection.reading,
        stream=projection.stream,
        messages=projection.behind,
        seconds=round(seconds_since(projection.oldest_at, now), 3),
    )


def _held(stream: Stream) -> Held:
    incomplete = [each.name for each in stream.replicas if each.offline or not each.current]
    return Held(stream=stream.name, messages=stream.messages, bytes=stream.bytes, incomplete=incomplete)
