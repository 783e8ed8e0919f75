"""An aiohttp application on a port, for as long as a context is open."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from libs.runtime.health import Readiness, health_routes

_BACKLOG = 4096


@asynccontextmanager
async def listen(app: web.Application, host: str, port: int, drain_seconds: float) -> AsyncIterator[int]:
    """Serve `app`; answers the port (another than `port` where that is 0).

    Left, it takes no new connections and gives requests under way `drain_seconds`.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=drain_seconds, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=_BACKLOG, reuse_address=True)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def health_only(readiness: Readiness, host: str, port: int) -> AsyncIterator[int]:
    """The server of a service that has no other HTTP."""
    app = web.Application()
    app.add_routes(health_routes(readiness))
    async with listen(app, host, port, drain_seconds=0.5) as bound:
        yield bound
