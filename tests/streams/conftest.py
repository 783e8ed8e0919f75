"""The real auth service, a process that serves streams, and a run in the admin's workspace."""

from collections.abc import AsyncIterator

import pytest

from cli.servers import NatsServer
from libs.events.broker import Broker
from libs.events.log import EventLog
from libs.events.subjects import RunKey
from libs.runtime.ids import new_id
from tests.auth.service import ADMIN_KEY, running_auth, sign_in
from tests.streams.edge import Served, serving

HEADERS = {"X-API-Key": ADMIN_KEY}


@pytest.fixture
async def edge(nats_server: NatsServer, log: EventLog) -> AsyncIterator[Served]:
    """Streams of the shared server's log."""
    async with running_auth(nats_server.url):
        with serving(nats_server.url) as served:
            yield served


@pytest.fixture
async def run(edge: Served, broker: Broker) -> RunKey:
    """A run of the admin's that does not exist yet."""
    return RunKey((await sign_in(broker)).workspace, new_id("run"))
