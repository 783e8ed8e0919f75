"""Keeps the gauges that are nobody's own: backlogs, replicas, projections, the disk. Every gateway does, every 5 s.

All gateways say the same, so rules take the maximum. What cannot be read is left out rather than kept from before:
`headgate_watch_age_seconds` then grows.
"""

import asyncio
import time
from datetime import UTC, datetime

import msgspec
import structlog
from prometheus_client import Gauge

from libs.events.broker import Broker, Unavailable
from libs.events.standing import Standing
from libs.runtime.postgres import Database
from services.gateway.health.findings import seconds_since
from services.gateway.health.reading import Disk, Health, Projection, read_health

_LOOK_SECONDS = 5.0

_STREAM_MESSAGES = Gauge("headgate_stream_messages", "Messages that a stream of the log holds.", ["stream"])
_STREAM_BYTES = Gauge("headgate_stream_bytes", "Bytes that a stream of the log takes on disk.", ["stream"])
_REPLICA_LAG = Gauge(
    "headgate_stream_replica_lag", "Operations that a replica of a stream lacks.", ["stream", "replica"]
)
_REPLICA_CURRENT = Gauge(
    "headgate_stream_replica_current", "Whether a replica of a stream has all of it: 1 or 0.", ["stream", "replica"]
)
_PENDING = Gauge(
    "headgate_consumer_pending", "Messages that nobody has been given yet, by its leader.", ["stream", "consumer"]
)
_UNACKNOWLEDGED = Gauge("headgate_consumer_unacknowledged", "Messages in somebody's hands.", ["stream", "consumer"])
_OLDEST = Gauge(
    "headgate_consumer_oldest_pending_seconds",
    "How long the oldest message has waited that nobody has been given.",
    ["stream", "consumer"],
)
_STORAGE = Gauge("headgate_log_storage_bytes", "Bytes that all streams take on disk.")
_STORAGE_LIMIT = Gauge("headgate_log_storage_limit_bytes", "Bytes that all streams may take; 0: as the disk allows.")
_BEHIND = Gauge("headgate_projection_pending", "Messages that a table has not taken yet.", ["reading", "stream"])
_BEHIND_SECONDS = Gauge(
    "headgate_projection_lag_seconds", "How old the first message is that a table has not taken.", ["reading", "stream"]
)
_DISK_FREE = Gauge("headgate_disk_free_bytes", "Free on the disk of the data directory, on one machine.")
_DISK_SIZE = Gauge("headgate_disk_size_bytes", "The size of the disk of the data directory, on one machine.")
_AGE = Gauge("headgate_watch_age_seconds", "How long ago all of this was read.")

log = structlog.get_logger()


class Watch:
    """Reads and shows, until cancelled."""

    def __init__(self, broker: Broker, tables: Database, data: str) -> None:
        self._broker = broker
        self._tables = tables
        self._data = data
        self._read_at = time.monotonic()
        _AGE.set_function(lambda: time.monotonic() - self._read_at)

    async def run(self) -> None:
        """Look again and again."""
        while True:
            try:
                show(await read_health(self._broker, self._tables, self._data), datetime.now(UTC))
                self._read_at = time.monotonic()
            except (Unavailable, msgspec.MsgspecError) as error:
                forget()
                log.info("how the log stands cannot be read", reason=str(error))
            await asyncio.sleep(_LOOK_SECONDS)


def show(health: Health, now: datetime) -> None:
    """Set the gauges; what is gone is gone from them too."""
    forget()
    _show_standing(health.standing, now)
    for projection in health.projections or ():
        _show_projection(projection, now)
    if health.disk is not None:
        _show_disk(health.disk)


def forget() -> None:
    """Say nothing rather than what was."""
    for gauge in (_STREAM_MESSAGES, _STREAM_BYTES, _REPLICA_LAG, _REPLICA_CURRENT, _PENDING, _UNACKNOWLEDGED, _OLDEST):
        gauge.clear()
    for gauge in (_BEHIND, _BEHIND_SECONDS):
        gauge.clear()


def _show_standing(standing: Standing, now: datetime) -> None:
    for stream in standing.streams:
        _STREAM_MESSAGES.labels(stream.name).set(stream.messages)
        _STREAM_BYTES.labels(stream.name).set(stream.bytes)
        for replica in stream.replicas:
            _REPLICA_LAG.labels(stream.name, replica.name).set(replica.lag)
            _REPLICA_CURRENT.labels(stream.name, replica.name).set(replica.current and not replica.offline)
    for consumer in standing.consumers:
        labels = (consumer.stream, consumer.name)
        _PENDING.labels(*labels).set(consumer.pending)
        _UNACKNOWLEDGED.labels(*labels).set(consumer.unacknowledged)
        _OLDEST.labels(*labels).set(seconds_since(consumer.oldest_at, now))
    _STORAGE.set(standing.storage_bytes)
    _STORAGE_LIMIT.set(standing.storage_limit_bytes or 0)


def _show_projection(projection: Projection, now: datetime) -> None:
    labels = (projection.reading, projection.stream)
    _BEHIND.labels(*labels).set(projection.behind)
    _BEHIND_SECONDS.labels(*labels).set(seconds_since(projection.oldest_at, now))


def _show_disk(disk: Disk) -> None:
    _DISK_FREE.set(disk.free_bytes)
    _DISK_SIZE.set(disk.total_bytes)
