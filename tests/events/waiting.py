"""Waiting for what only the server knows: asked again and again, with an end."""

import asyncio
from collections.abc import Awaitable, Callable

from cli.servers import NatsServer
from libs.events.broker import Broker

_SECONDS = 10.0


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once `condition` holds; TimeoutError when it does not come to hold."""
    async with asyncio.timeout(_SECONDS):
        while not await condition():  # noqa: ASYNC110 - the server has no event to wait for
            await asyncio.sleep(0.01)


async def until_true(condition: Callable[[], bool]) -> None:
    """The same for what this process knows."""

    async def holds() -> bool:
        return condition()

    await until(holds)


async def until_connected(broker: Broker, connected: bool) -> None:
    """Return once the connection is up, or down."""
    await until_true(lambda: broker.connected is connected)


async def start_again(server: NatsServer) -> None:
    """Start a server that was stopped, without holding up the event loop."""
    server.launch()
    await asyncio.to_thread(server.wait_ready, _SECONDS)
