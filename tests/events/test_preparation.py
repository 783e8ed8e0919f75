"""Streams that only `headgate migrate` may make: processes wait for them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cli.servers import NatsServer
from libs.events.broker import Broker, Unavailable, connect
from libs.events.preparation import made_by_others, prepared
from libs.events.topology import all_streams, api, converge
from libs.runtime.settings import Settings


@pytest.fixture
async def bare(fresh_nats: NatsServer) -> AsyncIterator[Broker]:
    """A connection to a server that has no stream."""
    async with connect(fresh_nats.url, "test", lambda: None) as broker:
        yield broker


async def names(broker: Broker) -> set[str]:
    listed = await api(broker, "STREAM.NAMES", {}, dict)
    return set(listed["streams"] or ())


async def test_nothing_is_made_by_a_process_that_waits(bare: Broker) -> None:
    with pytest.raises(Unavailable):
        await made_by_others(bare, patience_seconds=0.3)
    assert await names(bare) == set()


async def test_it_waits_until_every_stream_is_there_and_takes_their_number(bare: Broker) -> None:
    settings = Settings(converge=False, streams=7)
    waiting = asyncio.create_task(prepared(bare, settings))
    configs = all_streams(3, replicas=1)
    for config in configs[:-1]:
        await api(bare, f"STREAM.CREATE.{config['name']}", config, dict)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.6):
            await asyncio.shield(waiting)
    await api(bare, f"STREAM.CREATE.{configs[-1]['name']}", configs[-1], dict)
    async with asyncio.timeout(5):
        assert await waiting == 3


async def test_a_process_that_may_makes_them(bare: Broker) -> None:
    assert await prepared(bare, Settings(streams=2)) == 2
    assert await names(bare) == {config["name"] for config in all_streams(2, replicas=1)}
    assert await prepared(bare, Settings(converge=False)) == 2
    assert await converge(bare, 2, replicas=1) == 2
