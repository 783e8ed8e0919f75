"""One stack for the folder, in it two workspaces, one of which has one of everything."""

import json
import urllib.request
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from tests.api.client import Caller
from tests.api.conftest import new_workspace
from tests.api.contract import Contract
from tests.stack import Stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("isolation"), gateways=2, env={"HEADGATE_FSYNC": "interval"}) as stack:
        yield stack


@pytest.fixture(scope="session")
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
async def owner(root: Caller) -> Caller:
    """The admin of a workspace."""
    return await new_workspace(root, "mine")


@pytest.fixture
async def stranger(root: Caller) -> Caller:
    """The admin of another one."""
    return await new_workspace(root, "theirs")
