"""Workers under test: what they are subscribed to, and how they are run and stopped."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from libs.events.broker import Broker
from libs.events.log import EventLog
from libs.events.subjects import Kind, stream_of
from libs.events.topology import api
from libs.events.worker import Subscription, Worker
from libs.runtime.ids import new_id
from tests.events.runs import requested, run_in
from tests.events.waiting import until


def subscription(workspace: str, **fields: Any) -> Subscription:
    """The requests of a workspace in the stream of shard 0, for a consumer of its own."""
    given: dict[str, Any] = {
        "stream": stream_of(0),
        "durable": new_id("durable"),
        "filter": f"evt.0.{workspace}.*.{Kind.REQUESTED}",
        "lease_seconds": 5.0,
        **fields,
    }
    return Subscription(**given)


async def request_runs(log: EventLog, workspace: str, count: int) -> list[str]:
    """Ask for runs whose requests the subscription is about; answers their ids."""
    runs = [run_in(workspace, 0, log.shards) for _ in range(count)]
    await asyncio.gather(*(log.append(run, Kind.REQUESTED, requested(run), after=0) for run in runs))
    return [run.run_id for run in runs]


@asynccontextmanager
async def running(worker: Worker, drain_seconds: float = 5.0) -> AsyncIterator[asyncio.Event]:
    """The worker at work; left, it has drained. Setting the event stops it before."""
    stopping = asyncio.Event()
    task = asyncio.create_task(worker.run(stopping, drain_seconds))
    try:
        yield stopping
    finally:
        stopping.set()
        await task


async def consumer_state(broker: Broker, subscribed: Subscription) -> dict[str, Any]:
    """What the server knows about the consumer; an error until it is made."""
    return await api(broker, f"CONSUMER.INFO.{subscribed.stream}.{subscribed.durable}", {}, dict)


async def until_settled(broker: Broker, subscribed: Subscription) -> None:
    """Return once the server has nothing left for the consumer, delivered or not."""

    async def settled() -> bool:
        state = await consumer_state(broker, subscribed)
        return bool(state.get("num_pending") == 0 and state["num_ack_pending"] == 0)

    await until(settled)
