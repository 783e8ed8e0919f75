"""One stack for all of them."""

from collections.abc import Iterator

import pytest

from cli.ports import random_port
from tests.observability.otlp import Collector, collecting
from tests.stack import Stack

PLANTED = "sk-planted0planted0planted0planted0planted0"
"""A key of a model's provider: it may go to that provider alone."""


@pytest.fixture(scope="package")
def model_port() -> int:
    """Where the stack's executor looks for the provider `openai`."""
    return random_port()


@pytest.fixture(scope="package")
def collector() -> Iterator[Collector]:
    """Where the stack's processes send their spans."""
    with collecting() as found:
        yield found


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, model_port: int, collector: Collector) -> Iterator[Stack]:
    """One process of each service; a test that hurts it leaves it whole again."""
    env = {
        "OPENAI_BASE_URL": f"http://127.0.0.1:{model_port}/v1",
        "OPENAI_API_KEY": PLANTED,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    with Stack(tmp_path_factory.mktemp("observed"), env=env) as running:
        yield running
