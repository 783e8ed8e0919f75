"""Server-Sent Events (WHATWG HTML, 9.2), written so that they survive proxies, slow readers and our own restarts.

Nothing of a run depends on a stream: a client that goes away stops nothing, one that reads too slowly is dropped and
may resume, and a process that stops ends its streams at once, for any other can go on where they ended.
"""

import asyncio
import socket
from collections.abc import AsyncIterator

import structlog
from aiohttp import web
from prometheus_client import Counter, Gauge

from libs.events.run_events import Served

HEARTBEAT_SECONDS = 10.0
_PATIENCE_SECONDS = 20.0
_SEND_BUFFER_BYTES = 64 * 1024
"""What the kernel holds for one reader, about; left alone it grows to megabytes where nobody reads."""
_RETRY_MS = 2000

_SMALL_BYTES = 16 * 1024
"""Far below what the transport lets pile up (64 KiB) before it makes a writer wait."""

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}

_open = Gauge("headgate_streams_open", "Event streams open to clients now.")
_dropped = Counter("headgate_streams_dropped_total", "Event streams ended because their client did not read.")

log = structlog.get_logger()


class Streams:
    """The streams that a process has open, so that it can end them when it stops.

    A reader that takes nothing of what is written for `patience_seconds` is dropped.
    """

    def __init__(self, patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self.patience_seconds = patience_seconds
        self._tasks: set[asyncio.Task[object]] = set()

    def add(self, task: asyncio.Task[object]) -> None:
        """Count a stream as open until its task ends."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def end(self) -> None:
        """End all of them; their clients come back elsewhere."""
        for task in self._tasks:
            task.cancel()


class EventStream:
    """One response: `open`, `send` or `ping` any number of times, and it is over when the handler returns."""

    def __init__(
        self, request: web.Request, streams: Streams, headers: dict[str, str] | None = None, *, retry: bool = True
    ) -> None:
        self._request = request
        self._streams = streams
        self._response = web.StreamResponse(headers={**HEADERS, **(headers or {})})
        self._first = f"retry: {_RETRY_MS}\n\n".encode() if retry else b""

    async def open(self) -> web.StreamResponse:
        """Send the headers and the time after which a client comes back."""
        task = asyncio.current_task()
        if task is not None:
            self._streams.add(task)
        self._response.headers["X-Request-Id"] = self._request["request_id"]
        await self._response.prepare(self._request)
        self._bound_buffers()
        if self._first:
            await self.write(self._first)
        return self._response

    async def ping(self) -> None:
        """A comment, so that nobody on the way takes the connection for dead."""
        await self.write(b": ping\n\n")

    async def write(self, frame: bytes) -> None:
        """Send bytes, or wait until there is room for them; a reader that makes none in time is dropped."""
        transport = self._request.transport
        if transport is not None and len(frame) <= _SMALL_BYTES and not transport.get_write_buffer_size():
            await self._response.write(frame)  # nothing waits, so this does not either: no timer is needed
            return
        try:
            async with asyncio.timeout(self._streams.patience_seconds):
                await self._response.write(frame)
        except TimeoutError:
            _dropped.inc()
            log.info("slow reader dropped", path=self._request.path)
            if transport is not None:
                transport.abort()
            raise ConnectionResetError("the reader was too slow") from None

    async def send_all(self, events: AsyncIterator[Served]) -> web.StreamResponse:
        """Open, send every event as it comes, and end."""
        return await self.write_all(frame(event) async for event in events)

    async def write_all(self, frames: AsyncIterator[bytes]) -> web.StreamResponse:
        """The same for frames that are printed already, as a dialect prints them."""
        response = await self.open()
        with _open.track_inprogress():
            try:
                async for each in frames:
                    await self.write(each)
                await response.write_eof()
            except ConnectionError:
                log.info("stream left by its client", path=self._request.path)
            except asyncio.CancelledError:
                # The process stops, or the client left. Either way nothing of the run is touched.
                if self._request.transport is not None:
                    self._request.transport.close()
                raise
        return response

    def _bound_buffers(self) -> None:
        """Let little pile up for a reader that does not read, and no longer than we wait for one that has vanished."""
        transport = self._request.transport
        connection: socket.socket | None = transport.get_extra_info("socket") if transport is not None else None
        if connection is None:
            return
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT") and connection.family in (socket.AF_INET, socket.AF_INET6):
            unanswered_ms = int(self._streams.patience_seconds * 1000)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unanswered_ms)


def frame(event: Served) -> bytes:
    """An event as it stands on the wire. The body is one line: JSON as we encode it has no line breaks."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, event.type.encode(), event.body)
