"""Auth processes for tests: the real service, entered in this process as `run_service` enters it."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec

from cli.ports import random_port
from libs.edge.callers import Callers
from libs.edge.key_management import actor_of
from libs.events.auth_calls import Actor, Principal
from libs.events.broker import Broker
from libs.runtime.health import Readiness
from libs.runtime.settings import Settings
from services.auth.app import serve

MASTER = base64.b64encode(bytes(range(32))).decode()
ADMIN_KEY = "sk-the-admin-key-of-these-tests-0000"
ADDRESS = "192.0.2.7"


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """An auth process: its condition, and where its health routes are."""

    readiness: Readiness
    stopping: asyncio.Event
    url: str


@asynccontextmanager
async def running_auth(nats_url: str, admin_key: str = ADMIN_KEY) -> AsyncIterator[Running]:
    """One auth process that serves until the context is left."""
    port = random_port()
    settings = Settings(service="auth", nats_url=nats_url, master_key=MASTER, admin_key=admin_key, port=port)
    readiness, stopping = Readiness(), asyncio.Event()
    async with serve(settings, readiness, stopping):
        yield Running(readiness=readiness, stopping=stopping, url=f"http://127.0.0.1:{port}")


async def sign_in(broker: Broker, key: str = ADMIN_KEY) -> Principal:
    """Whose key it is, by a cache of its own."""
    async with Callers(broker) as callers:
        return await callers.verify(key)


async def actor_for(broker: Broker, key: str = ADMIN_KEY) -> Actor:
    """The key's holder as the giver of commands."""
    return actor_of(await sign_in(broker, key), ADDRESS)


async def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Return once the condition holds; for what happens in others, who tell nobody. TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # there is no event to wait for
            await asyncio.sleep(0.001)
