"""What the broker of a stack says, asked past the product."""

import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from libs.events.broker import Broker, connect
from libs.events.subjects import group_of
from libs.events.topology import api
from tests.stack import Stack

_SHARDS = 4
_CONSUMER = "executors"


@asynccontextmanager
async def broker_of(stack: Stack) -> AsyncIterator[Broker]:
    """A connection of our own, to where the stack's gateways are told that the broker is."""
    async with connect(_url(stack), "test", lambda: None) as broker:
        yield broker


async def messages(broker: Broker, run_id: str) -> dict[str, int]:
    """How many messages of each kind the log holds of a run, those of its group among them."""
    found: Counter[str] = Counter()
    for shard, entry in itertools.product(range(_SHARDS), {run_id, group_of(run_id) or run_id}):
        asked = {"subjects_filter": f"evt.*.*.{entry}.>"}
        info: dict[str, Any] = await api(broker, f"STREAM.INFO.EVENTS_{shard}", asked, dict[str, Any])
        for subject, count in (info["state"].get("subjects") or {}).items():
            found[subject.rpartition(".")[2]] += count
    return dict(found)


async def redelivered(broker: Broker) -> int:
    """How many runs that nobody has finished yet were handed out more than once."""
    return sum([(await _consumer(broker, shard))["num_redelivered"] for shard in range(_SHARDS)])


async def all_done(broker: Broker) -> bool:
    """Whether the executors have taken, and are done with, every run there is."""
    consumers = [await _consumer(broker, shard) for shard in range(_SHARDS)]
    return not any(consumer["num_pending"] or consumer["num_ack_pending"] for consumer in consumers)


async def _consumer(broker: Broker, shard: int) -> dict[str, Any]:
    return await api(broker, f"CONSUMER.INFO.EVENTS_{shard}.{_CONSUMER}", {}, dict[str, Any])


def _url(stack: Stack) -> str:
    environment = Path(f"/proc/{stack.process('gateway')['pid']}/environ").read_text().split("\0")
    return next(line.partition("=")[2] for line in environment if line.startswith("HEADGATE_NATS_URL="))
