"""One stack for the whole folder, and for each test a workspace of its own in it."""

import json
import socket
import urllib.request
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from libs.events.broker import Broker, connect
from tests.api.client import Caller
from tests.api.contract import Contract
from tests.stack import Stack


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two gateways. A model provider is configured that nothing listens for."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        env = {"HEADGATE_FSYNC": "interval", "OPENAI_BASE_URL": nobody, "OPENAI_API_KEY": "not-a-key"}
        with Stack(tmp_path_factory.mktemp("api"), gateways=2, env=env) as stack:
            yield stack


@pytest.fixture(scope="package")
def contract(stack: Stack) -> Contract:
    """The stack's own document."""
    with urllib.request.urlopen(f"{stack.url}/openapi.json", timeout=10) as answer:
        return Contract(json.load(answer))


@pytest.fixture
async def root(stack: Stack, contract: Contract) -> AsyncIterator[Caller]:
    """The root admin, at the first gateway."""
    async with aiohttp.ClientSession() as session:
        yield Caller(session, stack.urls, stack.admin_key, contract)


@pytest.fixture
async def caller(root: Caller) -> Caller:
    """The admin of a workspace that no other test has."""
    return await new_workspace(root, "mine")


@pytest.fixture
async def stranger(root: Caller) -> Caller:
    """The admin of another workspace."""
    return await new_workspace(root, "theirs")


@pytest.fixture
async def broker(stack: Stack) -> AsyncIterator[Broker]:
    """A connection to the stack's own log, to leave there what a process that died would have left."""
    async with connect(_log_url(stack), "test", _lost) as connection:
        yield connection


def _log_url(stack: Stack) -> str:
    with urllib.request.urlopen(f"{stack.process('nats')['url']}/varz", timeout=10) as answer:
        return f"nats://127.0.0.1:{json.load(answer)['port']}"


def _lost() -> None:
    raise AssertionError("the client gave up its connection")


async def new_workspace(root: Caller, name: str) -> Caller:
    """The admin of a new workspace without limits."""
    made = await root.post("/v1/workspaces", {"name": name, "plan": "enterprise"}, expect=201)
    return root.having(made["admin_key"], made["id"])
