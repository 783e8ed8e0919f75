"""Two stacks: one that no test may hurt, and one to be hurt."""

from collections.abc import AsyncIterator, Iterator

import pytest

from cli.ports import random_port
from tests.e2e.caller import Caller, calling
from tests.e2e.target import Target, target
from tests.stack import Stack

LEASE_SECONDS = 3


@pytest.fixture(scope="package")
def model_port() -> int:
    """Where executors of the shared stack look for the provider `openai`; a test that wants one serves it there."""
    return random_port()


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, model_port: int) -> Iterator[Stack]:
    """Two gateways, two executors, a notifier; no test may stop any of it."""
    env = {"OPENAI_BASE_URL": f"http://127.0.0.1:{model_port}/v1", "OPENAI_API_KEY": "sk-of-the-model-server"}
    with Stack(tmp_path_factory.mktemp("shared"), gateways=2, executors=2, env=env) as running:
        yield running
        assert _lines(running, '"level":"error"', "Traceback") == []


@pytest.fixture(scope="package")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two gateways and three executors; a test that hurts any of it leaves it whole again."""
    env = {"HEADGATE_LEASE_SECONDS": str(LEASE_SECONDS)}
    with Stack(tmp_path_factory.mktemp("fragile"), gateways=2, executors=3, env=env) as running:
        yield running
        assert _lines(running, "request failed", "handler failed", "dead letter") == []


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[Caller]:
    """The admin of the shared stack."""
    async with calling(stack) as found:
        yield found


@pytest.fixture
async def web() -> AsyncIterator[Target]:
    """Something for nodes to call."""
    async with target() as found:
        yield found


def _lines(stack: Stack, *marks: str) -> list[str]:
    """What its services logged that holds one of the marks."""
    logs = "".join(path.read_text() for path in (stack.data / "logs").glob("*.log"))
    return [line for line in logs.splitlines() if any(mark in line for mark in marks)]
