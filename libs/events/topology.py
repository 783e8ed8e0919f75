"""The streams of the log, and how a cluster is brought to have them.

`converge` is idempotent and every process calls it on start: what is missing is made, what may be changed is
changed, and what would lose events (fewer streams, a shorter history) is refused. The number of event streams
is decided when the log is made, for a run's stream is the hash of its id modulo that number.

In a cluster only `headgate migrate` has the right to do so, once before each rollout; there, processes wait until the
streams they need exist. So old and new processes beside each other do not take turns at changing them.
"""

import asyncio
from typing import Any, TypeVar

import msgspec
import structlog

from libs.events.broker import Broker, Unavailable
from libs.events.subjects import (
    CACHE,
    DEAD_LETTERS,
    DELIVERIES,
    ENDPOINTS,
    LEDGERS,
    MANAGEMENT,
    SESSIONS,
    TIMERS,
    stream_of,
)

_DUPLICATES_NS = 100_000_000
"""The shortest window the server has: our appends are made safe by compare-and-set, not by message ids."""

_STREAM_EXISTS = 10058
_DAY_NS = 24 * 3600 * 1_000_000_000
_COUNT = "headgate_streams"

T = TypeVar("T")

log = structlog.get_logger()


class ApiError(msgspec.Struct, frozen=True):
    """The error of a JetStream API answer."""

    code: int = 500
    err_code: int = 0
    description: str = ""


class StreamInfo(msgspec.Struct, frozen=True):
    """The answer about one stream."""

    config: dict[str, Any] = {}
    error: ApiError | None = None


class TopologyError(Exception):
    """The server refused a stream that the log needs; the message says which and why."""


def event_stream(shard: int, replicas: int, count: int) -> dict[str, Any]:
    """The configuration of one of `count` event streams: append-only, for ever, republished once stored."""
    return {
        **_append_only(stream_of(shard), [f"evt.{shard}.>"], replicas),
        "metadata": {_COUNT: str(count)},
        "republish": {"src": f"evt.{shard}.>", "dest": f"live.evt.{shard}.>"},
    }


def management_stream(replicas: int) -> dict[str, Any]:
    """The configuration of the stream of flows, deployments, keys and workspaces."""
    return _append_only(MANAGEMENT, ["mgt.>"], replicas)


def delivery_stream(replicas: int) -> dict[str, Any]:
    """The configuration of the stream that tells what became of deliveries."""
    return _append_only(DELIVERIES, ["dlv.*"], replicas)


def dead_letter_stream(replicas: int) -> dict[str, Any]:
    """Poison is looked at and sent again by people, so it may be deleted, and is kept for 90 days."""
    return {
        **_append_only(DEAD_LETTERS, ["dead.>"], replicas),
        "deny_delete": False,
        "deny_purge": False,
        "max_age": 90 * _DAY_NS,
    }


def register_streams(replicas: int) -> list[dict[str, Any]]:
    """Streams whose last message of a subject is all that counts: ledgers, sessions, kept answers, timers …"""
    return [
        {**_register(LEDGERS, "adm.*", replicas), "max_age": 0},
        {**_register(SESSIONS, "ses.*.*.*", replicas), "max_age": 400 * _DAY_NS},
        {**_register(ENDPOINTS, "hlt.*.*", replicas), "max_age": 400 * _DAY_NS},
        {**_register(CACHE, "cch.*.*", replicas), "max_age": _DAY_NS, "allow_msg_ttl": True},
        {**_register(TIMERS, "tmr.*.*.*", replicas), "allow_msg_ttl": True, "allow_msg_schedules": True},
    ]


def all_streams(count: int, replicas: int) -> list[dict[str, Any]]:
    """The configuration of every stream of a log with `count` event streams."""
    events = [event_stream(shard, replicas, count) for shard in range(count)]
    others = [management_stream(replicas), delivery_stream(replicas), dead_letter_stream(replicas)]
    return [*events, *others, *register_streams(replicas)]


async def converge(broker: Broker, streams: int, replicas: int, patience_seconds: float = 60.0) -> int:
    """Bring the server to have the streams; answers how many event streams the log has.

    Waits up to `patience_seconds` for a server (or a cluster's leader), then Unavailable. TopologyError when it
    refuses.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_seconds
    while True:
        try:
            return await _converge(broker, streams, replicas)
        except Unavailable:
            if loop.time() > deadline:
                raise
        await asyncio.sleep(0.1)


async def _converge(broker: Broker, streams: int, replicas: int) -> int:
    count = await _decided(broker, streams, replicas)
    if count != streams:
        log.warning("the log keeps its number of streams", streams=count, asked_for=streams)
    for config in all_streams(count, replicas):
        await _ensure(broker, config)
    broker.replicated = replicas > 1
    return count


async def _decided(broker: Broker, streams: int, replicas: int) -> int:
    """The number of event streams that stream 0 was made with, by this process if it is the first."""
    first = event_stream(0, replicas, streams)
    await api(broker, f"STREAM.CREATE.{first['name']}", first, StreamInfo)
    return await recorded_count(broker)


async def recorded_count(broker: Broker) -> int:
    """The number of event streams that the log was made with. Unavailable where there is no log yet."""
    info = await api(broker, f"STREAM.INFO.{stream_of(0)}", {}, StreamInfo)
    if info.error is not None:
        raise Unavailable(f"stream {stream_of(0)}: {info.error.description}")
    return int(info.config["metadata"][_COUNT])


async def _ensure(broker: Broker, config: dict[str, Any]) -> None:
    info = await api(broker, f"STREAM.CREATE.{config['name']}", config, StreamInfo)
    if info.error is not None and info.error.err_code == _STREAM_EXISTS:
        info = await api(broker, f"STREAM.UPDATE.{config['name']}", config, StreamInfo)
    if info.error is not None:
        if info.error.code >= 500:  # no leader, a full disk: what the server cannot do now, and not what it refuses
            raise Unavailable(info.error.description)
        raise TopologyError(f"stream {config['name']}: {info.error.description}")


async def api(broker: Broker, call: str, body: object, answer: type[T], timeout: float = 5.0) -> T:
    """One call of the JetStream API, `call` without its prefix."""
    message = await broker.request(f"$JS.API.{call}", msgspec.json.encode(body), timeout=timeout)
    return msgspec.json.decode(message.data, type=answer)


def _register(name: str, subject: str, replicas: int) -> dict[str, Any]:
    return {
        **_append_only(name, [subject], replicas),
        "discard": "old",
        "deny_delete": False,
        "deny_purge": False,
        "max_msgs_per_subject": 1,
    }


def _append_only(name: str, subjects: list[str], replicas: int) -> dict[str, Any]:
    return {
        "name": name,
        "subjects": subjects,
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "num_replicas": replicas,
        "max_consumers": 1000,
        "duplicate_window": _DUPLICATES_NS,
        "allow_direct": True,
        "deny_delete": True,
        "deny_purge": True,
        "compression": "none",
    }
