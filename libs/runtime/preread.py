"""The first look at a connection: a request that came whole may be answered past the HTTP library.

Most calls that start a run are small, and come on a connection that is asked again once it has answered. For those
aiohttp's streams, writer, routing and response took more of the gateway's time than taking the run in did. So the bytes
are read by httptools (llhttp, the parser that aiohttp has inside), and where they are one plain request, `express` may
answer it. The first request of a connection that is anything else makes the connection aiohttp's for good, with every
byte since that request began: nothing was done for it yet, so nobody reads it a second time otherwise than the first.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any, cast

import httptools
import msgspec
import structlog
from multidict import CIMultiDict

_WHOLE_BYTES = 64 * 1024
"""A larger request is the library's, which takes it in bit by bit."""

_HEAD_BYTES = 8 * 1024
"""A longer head, all lines together, is the library's to take or to refuse."""

_AHEAD_BYTES = 256 * 1024
"""So much of what is sent ahead of an answer is kept; then nothing is read until the answer is given."""

_PATIENCE_SECONDS = 10.0
"""A body that takes longer is the library's to wait for."""

_UNUSUAL = frozenset(
    {b"connection", b"content-encoding", b"expect", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)
"""Headers that say something about the message or the connection."""

log = structlog.get_logger()


class Whole(msgspec.Struct, frozen=True, gc=False):
    """A `POST` over HTTP/1.1 with a Host and a Content-Length, no header twice, all of it ASCII but the body."""

    target: bytes
    headers: CIMultiDict[str]
    body: bytes
    remote: str
    """The address of the peer."""


Answer = tuple[bytes, bool]
"""The bytes of a response, and whether the connection stays afterwards."""

Express = Callable[[Whole, Callable[[], bool]], Coroutine[None, None, Answer | None] | None]
"""Answers a request; the second argument tells whether this answer is to be the connection's last.

None, at once or after all: the request is the library's.
"""


class Preread(asyncio.Protocol):
    """One connection, until it ends or is handed to what `library` makes. `among`: those that are open."""

    def __init__(self, express: Express, library: Callable[[], asyncio.Protocol], among: "set[Preread]") -> None:
        self.ending = False
        """Set from outside: the next answer ends the connection."""
        self.since = 0.0
        """The loop's time when something last came, or was answered."""
        self._express = express
        self._library = library
        self._among = among
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._remote = ""
        self._raw: list[bytes] = []
        self._ahead: list[bytes] = []
        self._answering: asyncio.Task[None] | None = None
        self._unread = False
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._begun = 0
        self._headed = self._completed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self._remote = peer[0] if isinstance(peer, tuple) else ""
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.since = asyncio.get_running_loop().time()
        self._among.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop. What is under way goes on: the run was accepted."""
        self._transport = None
        self._among.discard(self)

    def pause_writing(self) -> None:
        """Called by the loop: the peer does not read its answers, and is given no more."""
        self._unread = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._unread = False
        self._go_on()

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        self.since = asyncio.get_running_loop().time()
        if self._answering is not None or self._unread:
            self._ahead.append(data)
            if sum(map(len, self._ahead)) > _AHEAD_BYTES and self._transport is not None:
                self._transport.pause_reading()
        else:
            self._take(data)

    @property
    def holds(self) -> int:
        """Bytes of a request that is not answered yet."""
        return sum(map(len, self._raw))

    def sweep(self, now: float, idle_seconds: float) -> None:
        """What does not go on: a request that is half there is the library's, a connection that is idle is ended."""
        if self._answering is not None or self._transport is None:
            return
        if self._raw and now - self.since > _PATIENCE_SECONDS:
            self._hand_over()
        elif not self._raw and now - self.since > idle_seconds:
            self._transport.close()

    async def shutdown(self, seconds: float) -> None:
        """End: at once where nothing is under way, else after the answer, at the latest after `seconds`."""
        self.ending = True
        if self._answering is not None:
            await asyncio.wait((self._answering,), timeout=seconds)
        if self._transport is not None:
            self._transport.close()

    # The parser calls these.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begun += 1

    def on_url(self, url: bytes) -> None:
        """Its target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """All of them are there."""
        self._headed = True

    def on_body(self, body: bytes) -> None:
        """A part of its body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """It is whole."""
        self._completed = True

    def _take(self, data: bytes) -> None:
        self._raw.append(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return self._hand_over()
        if not self._headed or self._begun > 1 or (headers := self._plain()) is None:
            return self._hand_over()
        if int(headers["Content-Length"]) > _WHOLE_BYTES:
            return self._hand_over()
        if not self._completed:
            return None
        whole = Whole(self._target, headers, b"".join(self._body), self._remote)
        answer = self._express(whole, self._is_last)
        if answer is None:
            return self._hand_over()
        self._answering = asyncio.get_running_loop().create_task(self._answer(answer))
        return None

    def _plain(self) -> CIMultiDict[str] | None:
        """The headers, if there is nothing unusual about the request."""
        parser = self._parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1":
            return None
        names = {name.lower() for name, _ in self._headers}
        if len(names) < len(self._headers) or b"content-length" not in names or b"host" not in names:
            return None
        if not _UNUSUAL.isdisjoint(names) or self.holds - sum(map(len, self._body)) > _HEAD_BYTES:
            return None
        try:
            return CIMultiDict([(name.decode("ascii"), value.decode("ascii")) for name, value in self._headers])
        except UnicodeDecodeError:
            return None

    def _is_last(self) -> bool:
        return self.ending

    async def _answer(self, answer: Coroutine[None, None, Answer | None]) -> None:
        answered, stays = None, False
        try:
            answered = await answer
            stays = answered is None or answered[1]
        except Exception:
            log.exception("an answer could not be given")
        finally:
            self._answering = None
        if self._transport is None or self._transport.is_closing():
            return
        if answered is not None:
            self._transport.write(answered[0])
        if not stays:
            self._transport.close()
        elif answered is None:
            self._hand_over()
        else:
            self._begin_anew()

    def _begin_anew(self) -> None:
        self.since = asyncio.get_running_loop().time()
        self._raw, self._headers, self._body = [], [], []
        self._target, self._begun, self._headed, self._completed = b"", 0, False, False
        if self._ahead:
            self._go_on()

    def _go_on(self) -> None:
        """Read on, with what was sent ahead."""
        if self._unread or self._answering is not None or self._transport is None:
            return
        ahead, self._ahead = self._ahead, []
        self._transport.resume_reading()
        if ahead:
            self._take(b"".join(ahead))

    def _hand_over(self) -> None:
        transport, self._transport = self._transport, None
        if transport is None or transport.is_closing():
            return
        self._among.discard(self)
        library = self._library()
        transport.set_protocol(library)
        transport.resume_reading()
        library.connection_made(transport)
        library.data_received(b"".join([*self._raw, *self._ahead]))
        self._raw, self._ahead = [], []
