"""One auth process, or two, on the shared NATS server."""

from collections.abc import AsyncIterator

import pytest

from cli.servers import NatsServer
from libs.events.auth_calls import Actor
from libs.events.broker import Broker
from tests.auth.service import Running, actor_for, running_auth


@pytest.fixture
async def auth(nats_server: NatsServer) -> AsyncIterator[Running]:
    """An auth process that serves."""
    async with running_auth(nats_server.url) as running:
        yield running


@pytest.fixture
async def second_auth(auth: Running, nats_server: NatsServer) -> AsyncIterator[Running]:
    """Another one beside it; the two share the requests."""
    async with running_auth(nats_server.url) as running:
        yield running


@pytest.fixture
async def admin(auth: Running, broker: Broker) -> Actor:
    """The root admin."""
    return await actor_for(broker)
