"""What a service's process does about the log's streams before it works: makes them, or waits until they are made.

On a laptop whoever comes first makes them. In a cluster only `headgate migrate` may, once before each rollout, so that
old and new processes beside each other do not take turns at changing them, and no service needs the right to.
"""

import asyncio

import msgspec
import structlog

from libs.events.broker import Broker, Unavailable
from libs.events.topology import ApiError, all_streams, api, converge, recorded_count
from libs.runtime.settings import Settings

_PAUSE_SECONDS = 0.25
PATIENCE_SECONDS = 300.0
"""A new cluster's disks and databases take their time; after it the process ends, and says why."""

log = structlog.get_logger()


class _Names(msgspec.Struct, frozen=True):
    streams: list[str] | None = None
    total: int = 0
    error: ApiError | None = None


async def prepared(broker: Broker, settings: Settings) -> int:
    """How many event streams the log has, once it has all the streams that this version needs.

    Unavailable when that takes too long; TopologyError when the server refuses one.
    """
    broker.replicated = settings.replicas > 1
    if settings.converge:
        return await converge(broker, settings.streams, settings.replicas)
    return await made_by_others(broker)


async def made_by_others(broker: Broker, patience_seconds: float = PATIENCE_SECONDS) -> int:
    """Wait until every stream exists; how many event streams there are. Unavailable after `patience_seconds`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_seconds
    waiting_for = ""
    while True:
        try:
            return await _all_made(broker)
        except Unavailable as error:
            if loop.time() > deadline:
                raise
            if error.message != waiting_for:
                waiting_for = error.message
                log.info("waiting for the streams", reason=waiting_for)
        await asyncio.sleep(_PAUSE_SECONDS)


async def _all_made(broker: Broker) -> int:
    count = await recorded_count(broker)
    needed = {config["name"] for config in all_streams(count, replicas=1)}
    existing: set[str] = set()
    while True:
        page = await api(broker, "STREAM.NAMES", {"offset": len(existing)}, _Names)
        if page.error is not None:
            raise Unavailable(page.error.description)
        existing.update(page.streams or ())
        if lacking := sorted(needed - existing):
            if page.streams and len(existing) < page.total:
                continue
            raise Unavailable(f"stream {lacking[0]} does not exist: run `headgate migrate`")
        return count
