"""How the log stands, asked of the server: what each stream holds, how far behind its consumers and replicas are.

A consumer's figures come from its leader (`CONSUMER.INFO`): other servers' are stale. How long the oldest message has
waited is the age of the one after the last that was delivered.
"""

from datetime import datetime
from typing import Any

import msgspec

from libs.events.broker import Broker, Unavailable
from libs.events.subjects import MANAGEMENT
from libs.events.topology import ApiError, api

_API_SECONDS = 5.0


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """Another server's copy of a stream: how many operations it lacks."""

    name: str
    current: bool
    lag: int
    offline: bool


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """A durable consumer. `oldest_at`: when the oldest message was stored that nobody has been given yet."""

    stream: str
    name: str
    pending: int
    unacknowledged: int
    oldest_at: datetime | None


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream holds, and how its replicas do; none where there is one copy only."""

    name: str
    messages: int
    bytes: int
    last_sequence: int
    leader: str | None
    replicas: list[Replica]
    consumers: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """The whole log. Bytes are those on disk of all streams; a limit of None is the server's disk."""

    streams: list[Stream]
    consumers: list[Consumer]
    storage_bytes: int
    storage_limit_bytes: int | None


class _State(msgspec.Struct, frozen=True):
    messages: int = 0
    bytes: int = 0
    last_seq: int = 0
    consumer_count: int = 0


class _Peer(msgspec.Struct, frozen=True):
    name: str = ""
    current: bool = False
    offline: bool = False
    lag: int = 0


class _Cluster(msgspec.Struct, frozen=True):
    leader: str | None = None
    replicas: list[_Peer] = []


class _StreamInfo(msgspec.Struct, frozen=True):
    config: dict[str, Any]
    state: _State = _State()
    cluster: _Cluster = _Cluster()


class _StreamList(msgspec.Struct, frozen=True):
    streams: list[_StreamInfo] | None = None
    total: int = 0
    error: ApiError | None = None


class _Names(msgspec.Struct, frozen=True):
    consumers: list[str] | None = None
    error: ApiError | None = None


class _Place(msgspec.Struct, frozen=True):
    stream_seq: int = 0


class _ConsumerConfig(msgspec.Struct, frozen=True):
    durable_name: str = ""
    filter_subject: str = ">"


class _ConsumerInfo(msgspec.Struct, frozen=True):
    config: _ConsumerConfig = _ConsumerConfig()
    delivered: _Place = _Place()
    num_pending: int = 0
    num_ack_pending: int = 0
    error: ApiError | None = None


class _Limits(msgspec.Struct, frozen=True):
    max_storage: int = -1


class _Account(msgspec.Struct, frozen=True):
    storage: int = 0
    limits: _Limits = _Limits()


async def read_standing(broker: Broker) -> Standing:
    """How everything stands now. Unavailable when the server does not say."""
    streams = await _streams(broker)
    consumers: list[Consumer] = []
    for stream in streams:
        # What follows the management stream keeps its own place: ephemeral consumers, one a process.
        if stream.consumers and stream.name != MANAGEMENT:
            consumers += await _consumers(broker, stream.name)
    account = await api(broker, "INFO", {}, _Account, _API_SECONDS)
    limit = account.limits.max_storage
    return Standing(
        streams=streams,
        consumers=consumers,
        storage_bytes=account.storage,
        storage_limit_bytes=limit if limit > 0 else None,
    )


async def _streams(broker: Broker) -> list[Stream]:
    found: list[Stream] = []
    while True:
        page = await api(broker, "STREAM.LIST", {"offset": len(found)}, _StreamList, _API_SECONDS)
        if page.error is not None:
            raise Unavailable(page.error.description)
        found += [_stream(info) for info in page.streams or ()]
        if not page.streams or len(found) >= page.total:
            return sorted(found, key=lambda each: each.name)


def _stream(info: _StreamInfo) -> Stream:
    peers = info.cluster.replicas
    return Stream(
        name=str(info.config["name"]),
        messages=info.state.messages,
        bytes=info.state.bytes,
        last_sequence=info.state.last_seq,
        leader=info.cluster.leader,
        replicas=[Replica(name=p.name, current=p.current, lag=p.lag, offline=p.offline) for p in peers],
        consumers=info.state.consumer_count,
    )


async def _consumers(broker: Broker, stream: str) -> list[Consumer]:
    names = await api(broker, f"CONSUMER.NAMES.{stream}", {}, _Names, _API_SECONDS)
    found: list[Consumer] = []
    for name in names.consumers or ():
        info = await api(broker, f"CONSUMER.INFO.{stream}.{name}", {}, _ConsumerInfo, _API_SECONDS)
        if info.error is None and info.config.durable_name:
            oldest = await _oldest(broker, stream, info) if info.num_pending else None
            found.append(
                Consumer(
                    stream=stream,
                    name=name,
                    pending=info.num_pending,
                    unacknowledged=info.num_ack_pending,
                    oldest_at=oldest,
                )
            )
    return found


async def _oldest(broker: Broker, stream: str, info: _ConsumerInfo) -> datetime | None:
    return await stored_at(broker, stream, info.delivered.stream_seq + 1, info.config.filter_subject)


async def stored_at(broker: Broker, stream: str, sequence: int, subject: str = ">") -> datetime | None:
    """When the first message from a sequence on was stored; None when there is none."""
    wanted = msgspec.json.encode({"seq": sequence, "next_by_subj": subject})
    headers = (await broker.request(f"$JS.API.DIRECT.GET.{stream}", wanted)).headers or {}
    at = headers.get("Nats-Time-Stamp")
    return None if at is None else msgspec.convert(at, datetime)
