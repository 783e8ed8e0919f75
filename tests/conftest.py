"""What every test may ask for: the real servers from the wheels, started once per test process, and connections.

A shared server is told apart by workspace and run ids, which each test makes for itself. A test that stops, kills
or reconfigures a server takes `fresh_nats`.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest
import uvloop

from cli.servers import NatsServer, PostgresServer
from libs.events.broker import Broker, connect
from libs.events.log import EventLog
from libs.events.subjects import RunKey
from libs.events.topology import converge
from libs.runtime.ids import new_id

STREAMS = 4


def pytest_collection_finish() -> None:
    """Leave what thousands of tests are made of out of every later search for garbage: it would be most of it."""
    gc.collect()
    gc.freeze()


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop that the product runs on."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A NATS server for all tests of this process, which leave it running."""
    yield from _running(NatsServer(tmp_path_factory.mktemp("nats"), fsync="interval"))


@pytest.fixture
def fresh_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A NATS server for one test, to be hurt."""
    yield from _running(NatsServer(tmp_path_factory.mktemp("nats"), fsync="interval"))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The DSN of a PostgreSQL for all tests of this process; a test makes a database of its own there."""
    server = PostgresServer(tmp_path_factory.mktemp("postgres"))
    server.start()
    yield server.dsn
    server.stop()


@pytest.fixture
async def broker(nats_server: NatsServer) -> AsyncIterator[Broker]:
    """A connection to the shared server."""
    async with connect(nats_server.url, "test", _lost) as connection:
        yield connection


@pytest.fixture
async def log(broker: Broker) -> EventLog:
    """The log on the shared server. Whoever comes first decides its number of streams: all tests ask for the same."""
    count = await converge(broker, STREAMS, replicas=1)
    assert count == STREAMS
    return EventLog(broker, count)


@pytest.fixture
def workspace() -> str:
    """A workspace that no other test has."""
    return new_id("ws")


@pytest.fixture
def run(workspace: str) -> RunKey:
    """A run that does not exist yet."""
    return RunKey(workspace, new_id("run"))


def _running(server: NatsServer) -> Iterator[NatsServer]:
    server.start()
    yield server
    server.stop()


def _lost() -> None:
    raise AssertionError("the client gave up its connection")
