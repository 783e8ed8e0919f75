"""An aiohttp application on a port, for as long as a context is open."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aiohttp import web

from libs.runtime.health import Readiness, health_routes

_BACKLOG = 4096

_HELD_BYTES = 256 * 1024

Malformed = Callable[[int], web.Response]
"""The answer, of a given status, to what is no HTTP request."""

Express = Callable[[bytes, str], Coroutine[None, None, tuple[bytes, bool] | None] | None]
"""Given the bytes of what may be one whole request, and the peer's address: how it is answered past the library.

The answer's bytes, and whether the connection stays. None, at once or after all: the request is the library's.
"""

_WHOLE = re.compile(rb"[A-Z]+ [^\r\n]* HTTP/1\.1\r\n(?:[^\r\n]+\r\n)*+\r\n")
_BODY = re.compile(rb"\r\n(?:content-length: *(\d+) *|transfer-encoding:[^\r\n]*|upgrade:[^\r\n]*)\r\n", re.IGNORECASE)

log = structlog.get_logger()


class _Connection(web.RequestHandler):
    """A connection of the library's, and a way past it for requests that another can answer from their bytes.

    That is tried while the library stands between two requests, for it cannot be taken out of the middle of one. What
    comes while such a request is under way waits until it is answered.

    What is no request is answered in our words: the library's own repeat what was sent, and a key may be part of that.
    """

    __slots__ = ("_answering", "_between", "_closing", "_express", "_held", "_malformed")

    def __init__(self, server: web.Server, malformed: Malformed, express: Express | None) -> None:
        none: Any = None  # there is no access log; the library takes None, but does not say so
        super().__init__(server, loop=asyncio.get_running_loop(), access_log=none)
        self._malformed = malformed
        self._express = express
        self._answering: asyncio.Task[None] | None = None
        self._between = True
        self._closing = False
        self._held: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        """Called by the transport."""
        if self._answering is not None:
            self._hold(data)
        elif not data or self._express is None or not self._idle() or not self._try_express(self._express, data):
            # The library calls this too, with nothing, when it goes on with what it has.
            self._between = self._between and (not data or _ends_whole(data))
            super().data_received(data)

    def close(self) -> None:
        """Called by the library when no further requests are to be taken."""
        self._closing = True
        if self._answering is None:
            super().close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """Called by the library at the end: what is under way has `timeout` seconds."""
        if self._answering is not None:
            await asyncio.wait((self._answering,), timeout=timeout)
        await super().shutdown(timeout)

    def _idle(self) -> bool:
        """Whether the library waits for a request, or for its first turn, and there is nothing that it has to read."""
        waits = not self._waiter.done() if self._waiter is not None else self._request_count == 0
        return waits and self._between and not self._messages and not self._closing and self.transport is not None

    def _try_express(self, express: Express, data: bytes) -> bool:
        peer = self.peername
        answer = express(data, peer[0] if isinstance(peer, tuple) else "")
        if answer is not None:
            self._answering = self._loop.create_task(self._answer(answer, data))
        return answer is not None

    async def _answer(self, answer: Coroutine[None, None, tuple[bytes, bool] | None], data: bytes) -> None:
        stays = True
        try:
            answered = await answer
            if answered is not None and self.transport is not None:
                self.transport.write(answered[0])
                stays = answered[1] and not self._closing
                await self._drain_helper()
        except ConnectionError:
            stays = False
        except Exception:
            log.exception("an answer could not be sent")
            stays = False
        finally:
            self._answering = None
        if not stays:
            self.force_close()
            return
        self._next_keepalive_close_time = self._loop.time() + self.keepalive_timeout
        held, self._held = [data, *self._held] if answered is None else self._held, []
        if answered is None:
            self._between = _ends_whole(data)
            super().data_received(held.pop(0))
        if held and self.transport is not None:
            self.transport.resume_reading()
            self.data_received(b"".join(held))

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        if sum(map(len, self._held)) > _HELD_BYTES and self.transport is not None:
            self.transport.pause_reading()

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

    def close_after_answers(self) -> None:
        """Answer whatever comes from now on, and end the connection with the answer: nobody may reuse it."""
        self._express = None
        factory: Any = self._request_factory

        def last(message: Any, *rest: Any) -> Any:
            return factory(message._replace(should_close=True), *rest)

        self._request_factory = last


def _ends_whole(data: bytes) -> bool:
    """Whether `data`, which begins with a request, is that request and no more; where this is not plain, it is not."""
    head = _WHOLE.match(data)
    if head is None:
        return False
    lengths = _BODY.findall(head[0])
    wanted = int(lengths[0] or -1) if lengths else 0
    return len(lengths) < 2 and len(data) - head.end() == wanted


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

    def accepted() -> _Connection:
        connection = _Connection(server, malformed, express)
        if lingering:
            connection.close_after_answers()
        return connection

    listening = await asyncio.get_running_loop().create_server(
        accepted, host, port, backlog=_BACKLOG, reuse_address=True
    )
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        if linger_seconds:
            lingering = True
            for connection in server.connections:
                if isinstance(connection, _Connection):
                    connection.close_after_answers()
            await asyncio.sleep(linger_seconds)
        listening.close()
        await runner.cleanup()


@asynccontextmanager
async def health_only(readiness: Readiness, host: str, port: int) -> AsyncIterator[int]:
    """The server of a service that has no other HTTP."""
    app = web.Application()
    app.add_routes(health_routes(readiness))
    async with listen(app, host, port, drain_seconds=0.5) as bound:
        yield bound
