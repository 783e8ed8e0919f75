"""How the log stands, as a real server says it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from cli.servers import NatsServer
from libs.events.broker import Broker, connect
from libs.events.log import EventLog
from libs.events.standing import read_standing
from libs.events.subjects import Kind, RunKey, kind_filter, shard_of, stream_of
from libs.events.topology import converge
from libs.events.worker import Subscription, Worker, ensure_consumer
from libs.runtime.ids import new_id
from tests.events.runs import requested
from tests.events.waiting import until


@pytest.fixture
async def alone(fresh_nats: NatsServer) -> AsyncIterator[Broker]:
    """A log that no other test writes to."""
    async with connect(fresh_nats.url, "test", lambda: None) as broker:
        yield broker


async def test_a_backlog_is_told_with_the_age_of_its_oldest(alone: Broker) -> None:
    log = EventLog(alone, await converge(alone, 1, 1))
    subscription = Subscription(
        stream=stream_of(0), durable="executors", filter=kind_filter(0, Kind.REQUESTED), lease_seconds=10
    )
    await ensure_consumer(alone, subscription)
    before = datetime.now(UTC)
    for _ in range(3):
        run = RunKey("ws_test", new_id("run"))
        assert shard_of(run.run_id, 1) == 0
        await log.append(run, Kind.REQUESTED, requested(run), after=0)

    standing = await read_standing(alone)
    (consumer,) = standing.consumers
    assert (consumer.name, consumer.stream, consumer.pending, consumer.unacknowledged) == (
        "executors",
        "EVENTS_0",
        3,
        0,
    )
    assert consumer.oldest_at is not None
    assert before - timedelta(seconds=1) < consumer.oldest_at < datetime.now(UTC) + timedelta(seconds=1)
    (events,) = [each for each in standing.streams if each.name == "EVENTS_0"]
    assert (events.messages, events.last_sequence, events.replicas) == (3, 3, [])
    assert standing.storage_bytes >= events.bytes > 0
    assert standing.storage_limit_bytes is None

    # One is taken and held: the oldest that waits is the second now, and none waits where all were taken.
    release = asyncio.Event()

    async def hold(_: object) -> None:
        await release.wait()

    worker = Worker(alone, subscription, hold, lambda: 3)
    stopping = asyncio.Event()
    running = asyncio.create_task(worker.run(stopping, 1.0))
    try:
        await until(lambda: held(alone, 3))
        (consumer,) = (await read_standing(alone)).consumers
        assert (consumer.pending, consumer.oldest_at) == (0, None)
    finally:
        release.set()
        stopping.set()
        await running


async def held(broker: Broker, count: int) -> bool:
    """Whether so many messages are in a worker's hands."""
    (consumer,) = (await read_standing(broker)).consumers
    return consumer.unacknowledged == count
