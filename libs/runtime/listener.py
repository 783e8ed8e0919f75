"""An aiohttp application on a port, for as long as a context is open."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aiohttp import web

from libs.runtime.health import Readiness, health_routes
from libs.runtime.preread import Express, Preread

_BACKLOG = 4096
_SWEEP_SECONDS = 5.0
_IDLE_SECONDS = 3630.0
"""As aiohttp does: longer than the hour for which proxies keep theirs, so that none is ended just when it is used."""

Malformed = Callable[[int], web.Response]
"""The answer, of a given status, to what is no HTTP request."""

log = structlog.get_logger()


class _Connection(web.RequestHandler):
    """Answers what is no request in our words: aiohttp's own repeat what was sent, and a key may be part of that."""

    __slots__ = ("_malformed",)

    def __init__(self, server: web.Server, malformed: Malformed) -> None:
        none: Any = None  # there is no access log; the library takes None, but does not say so
        super().__init__(server, loop=asyncio.get_running_loop(), access_log=none)
        self._malformed = malformed

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Of the fault nothing is told, and only its kind is logged."""
        log.info("request not understood", status=status, reason=type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        response = self._malformed(status)
        response.force_close()
        return response

    def close_after_next(self) -> None:
        """End the connection with the next answer, of a request that is still to come: nobody may reuse it."""
        factory: Any = self._request_factory

        def last(message: Any, *rest: Any) -> Any:
            return factory(message._replace(should_close=True), *rest)

        self._request_factory = last

    def close_after_this(self) -> None:
        """End the connection with the answer to the request that is under way, if there is one."""
        if (request := self._current_request) is not None:
            request._message = request._message._replace(should_close=True)


def _without_words(status: int) -> web.Response:
    return web.Response(status=status)


@asynccontextmanager
async def listen(
    app: web.Application,
    host: str,
    port: int,
    drain_seconds: float,
    malformed: Malformed = _without_words,
    linger_seconds: float = 0.0,
    express: Express | None = None,
) -> AsyncIterator[int]:
    """Serve `app`, and what `express` takes past it; answers the port (another than `port` where that is 0).

    Left, it first serves on for `linger_seconds`, in which each answer ends its connection: so clients that keep theirs
    open move elsewhere, and none sends a request into one that is just being closed. Then it takes no new connections,
    and gives requests under way `drain_seconds`.
    """
    runner = web.AppRunner(app, shutdown_timeout=drain_seconds, handle_signals=False)
    await runner.setup()
    server = runner.server
    assert server is not None  # noqa: S101  # `setup` has made it
    lingering = False
    prereads: set[Preread] = set()

    def library() -> _Connection:
        connection = _Connection(server, malformed)
        if lingering:
            connection.close_after_next()
        return connection

    def accepted() -> asyncio.Protocol:
        if express is None:
            return library()
        connection = Preread(express, library, prereads)
        connection.ending = lingering
        return connection

    listening = await asyncio.get_running_loop().create_server(
        accepted, host, port, backlog=_BACKLOG, reuse_address=True
    )
    sweeping = asyncio.create_task(_sweep(prereads))
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        if linger_seconds:
            lingering = True
            connections = [each for each in server.connections if isinstance(each, _Connection)]
            for each in connections:
                each.close_after_next()
            for preread in prereads:
                preread.ending = True
            await asyncio.sleep(0)  # a request that was just made is under way then
            for each in connections:
                each.close_after_this()
            await asyncio.sleep(linger_seconds)
        listening.close()
        sweeping.cancel()
        await asyncio.gather(runner.cleanup(), *[each.shutdown(drain_seconds) for each in prereads])


async def _sweep(prereads: set[Preread]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        for each in list(prereads):
            each.sweep(loop.time(), _IDLE_SECONDS)


@asynccontextmanager
async def health_only(readiness: Readiness, host: str, port: int) -> AsyncIterator[int]:
    """The server of a service that has no other HTTP."""
    app = web.Application()
    app.add_routes(health_routes(readiness))
    async with listen(app, host, port, drain_seconds=0.5) as bound:
        yield bound
