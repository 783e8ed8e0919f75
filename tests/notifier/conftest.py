"""A stack whose notifiers try again after fractions of a second; no test may stop any of it but those of `fragile`."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "clients" / "python"))

from cli.ports import random_port
from tests.e2e.caller import Caller, calling
from tests.e2e.target import Target, target
from tests.stack import Stack

SCHEDULE = (0.0, 0.3, 0.3, 0.3)
TIMEOUT_SECONDS = 2.0
_ENV = {
    "HEADGATE_DELIVERY_SCHEDULE": ",".join(map(str, SCHEDULE)),
    "HEADGATE_DELIVERY_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
    "HEADGATE_LEASE_SECONDS": "2",
}


@pytest.fixture(scope="package")
def mail_port() -> int:
    """Where the stacks have their mail server; a test that wants one serves it there."""
    return random_port()


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, mail_port: int) -> Iterator[Stack]:
    """Two gateways, two notifiers."""
    env = {
        **_ENV,
        "HEADGATE_FSYNC": "interval",
        "HEADGATE_SMTP_URL": f"smtp://127.0.0.1:{mail_port}?starttls=false",
        "HEADGATE_EMAIL_FROM": "Headgate <runs@headgate.test>",
        "HEADGATE_ALERT_EMAIL": "operator@headgate.test",
    }
    with Stack(tmp_path_factory.mktemp("notifier"), gateways=2, notifiers=2, env=env) as running:
        yield running
        logs = "".join(path.read_text() for path in (running.data / "logs").glob("notifier-*.log"))
        assert [line for line in logs.splitlines() if '"level":"error"' in line] == []


@pytest.fixture(scope="package")
def fragile(tmp_path_factory: pytest.TempPathFactory, mail_port: int) -> Iterator[Stack]:
    """The same, to be hurt; whoever hurts it leaves it whole."""
    env = {**_ENV, "HEADGATE_SMTP_URL": f"smtp://127.0.0.1:{mail_port}"}
    with Stack(tmp_path_factory.mktemp("fragile"), notifiers=2, env=env) as running:
        yield running


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[Caller]:
    async with calling(stack) as found:
        yield found


@pytest.fixture
async def web() -> AsyncIterator[Target]:
    """Receives what is delivered."""
    async with target() as found:
        yield found
