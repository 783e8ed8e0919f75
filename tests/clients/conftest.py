"""The three clients, and the server that treats them badly."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "clients" / "python"))

from tests.clients.node import Node
from tests.clients.product import deploy_greeter
from tests.clients.speakers import AsyncioSpeaker, BlockingSpeaker, NodeSpeaker, Speaker
from tests.clients.wire import Wire, serving
from tests.stack import Stack


@pytest.fixture(scope="package")
def node() -> Iterator[Node]:
    """The JavaScript client."""
    running = Node()
    yield running
    running.stop()


@pytest.fixture(params=["blocking", "asyncio", "node"])
def speaker(request: pytest.FixtureRequest, node: Node) -> Speaker:
    """Each client in turn."""
    match request.param:
        case "blocking":
            return BlockingSpeaker()
        case "asyncio":
            return AsyncioSpeaker()
        case _:
            return NodeSpeaker(node)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A server without answers; the test gives it some."""
    async with serving() as found:
        yield found


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Headgate itself, one of everything, with the flow `greeter`."""
    with Stack(tmp_path_factory.mktemp("clients")) as running:
        deploy_greeter(running)
        yield running
