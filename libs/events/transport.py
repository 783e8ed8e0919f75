"""The connection's socket: bytes go to the parser as they come, and what is said leaves together.

The client reads through a task that is woken for each part of what comes, and writes through another that flushes.
Both are passed by here. It is also where a connection that is lost ends in bounded time, and where one that is to be
encrypted is, or is none.
"""

import asyncio
import ssl
from typing import Any
from urllib.parse import ParseResult

import msgspec
from nats.aio.transport import TcpTransport
from nats.errors import ProtocolError, SecureConnRequiredError

from libs.events.wire import WireParser

_CLOSE_SECONDS = 2.0
_TICK_SECONDS = 0.001
_BUSY = 4
"""So many messages in one tick, and what follows is gathered for the next."""


class WireReader(asyncio.StreamReader):
    """Gives bytes to the parser as they come while the client's reading task has nothing else to read."""

    def __init__(self, parser: WireParser, limit: int) -> None:
        super().__init__(limit=limit, loop=asyncio.get_running_loop())
        self._parser = parser
        self._idle = False

    async def read(self, n: int = -1) -> bytes:
        """What the client has to see; it calls this once the connection is made, and only then."""
        self._idle = True
        try:
            return await super().read(n)
        finally:
            self._idle = False

    def feed_data(self, data: Any) -> None:
        """Called by the transport, with bytes."""
        if self._idle:
            try:
                data = self._parser.feed(data)
            except ProtocolError:
                self.set_exception(ProtocolError())
                return
            if not data:
                return
            self._idle = False
        super().feed_data(data)


class _Greeting(msgspec.Struct, frozen=True):
    tls_required: bool = False


class _EncryptedProtocol(asyncio.StreamReaderProtocol):
    """What asyncio's own does when it is told of the encryption, which `start_tls` does not do."""

    def eof_received(self) -> bool:
        super().eof_received()
        return False


class WireTransport(TcpTransport):
    """A connection read by `WireReader`, written to at once, and closed in bounded time.

    The client waits for the end before it reconnects, and what was written to a server that no longer reads (a cut
    cable, a frozen machine) would keep it waiting for as long as the kernel tries: a quarter of an hour.

    `encrypted`: a server that does not offer that is not talked to. The client itself would go on in the clear, and
    whoever sits between could have it do so.
    """

    def __init__(self, parser: WireParser, *, encrypted: bool = False) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # nats-py leaves it untyped
        self._parser = parser
        self._encrypted = encrypted
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0
        self._sent = 0
        self._tick = 0.0

    def __bool__(self) -> bool:
        """Keeps the client from making a transport of its own on the first connection."""
        return True

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: int) -> None:
        """As the library's, but with our reader."""
        loop = asyncio.get_running_loop()
        reader = WireReader(self._parser, buffer_size)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        async with asyncio.timeout(connect_timeout):
            transport, _ = await loop.create_connection(lambda: protocol, uri.hostname or "", uri.port or 0)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self._gathered, self._gathered_bytes = [], 0
        self._bare_io_reader = self._io_reader = reader
        self._bare_io_writer = self._io_writer = writer

    async def connect_tls(
        self, uri: str | ParseResult, ssl_context: ssl.SSLContext, buffer_size: int, connect_timeout: int
    ) -> None:
        """As the library's, but with our reader."""
        loop = asyncio.get_running_loop()
        reader = WireReader(self._parser, buffer_size)
        protocol = _EncryptedProtocol(reader, loop=loop)
        name = uri if isinstance(uri, str) else uri.hostname
        if self._bare_io_writer is None:
            raise ConnectionError("there is no connection to encrypt")
        plain = self._bare_io_writer.transport
        async with asyncio.timeout(connect_timeout):
            transport = await loop.start_tls(plain, protocol, ssl_context, server_hostname=name)
        if transport is None:
            raise ConnectionError("the connection was lost while it was being encrypted")
        reader.set_transport(transport)
        self._io_reader, self._io_writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def readline(self) -> bytes:
        """A line of the handshake. SecureConnRequiredError for a greeting that does not offer what there has to be."""
        line: bytes = await super().readline()  # type: ignore[no-untyped-call]  # nats-py leaves it untyped
        if self._encrypted and self._io_reader is self._bare_io_reader and not _offers_encryption(line):
            raise SecureConnRequiredError
        return line

    def gather(self, frame: bytes) -> None:
        """Write soon, together with what else is said meanwhile.

        A quiet connection writes before the loop looks for input again. A busy one writes once a millisecond: a
        write for each message has the server read, answer and write for each, which came to 2.5 times its CPU.
        """
        self._gathered.append(frame)
        self._gathered_bytes += len(frame)
        if len(self._gathered) > 1:
            return
        loop = asyncio.get_running_loop()
        if self._sent >= _BUSY and loop.time() - self._tick < 2 * _TICK_SECONDS:
            loop.call_later(_TICK_SECONDS, self._write_gathered)
        else:
            loop.call_soon(self._write_gathered)

    def _write_gathered(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._tick > _TICK_SECONDS:
            self._tick, self._sent = now, 0
        self._sent += len(self._gathered)
        frames, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if frames and self._io_writer is not None:
            self._io_writer.write(b"".join(frames))

    def write(self, payload: bytes) -> None:
        """What the client says comes after what was said before."""
        self._write_gathered()
        super().write(payload)  # type: ignore[no-untyped-call]  # nats-py leaves it untyped

    def writelines(self, payload: list[bytes]) -> None:
        """The same."""
        self._write_gathered()
        super().writelines(payload)  # type: ignore[no-untyped-call]  # nats-py leaves it untyped

    def close(self) -> None:
        """Close, with what was said until now."""
        self._write_gathered()
        super().close()  # type: ignore[no-untyped-call]  # nats-py leaves it untyped

    @property
    def unwritten(self) -> int:
        """Bytes that wait for the network."""
        if self._io_writer is None:
            return 0
        return int(self._io_writer.transport.get_write_buffer_size()) + self._gathered_bytes

    async def wait_closed(self) -> None:
        """Until the connection is closed, for two seconds; then it is cut."""
        if self._io_writer is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._io_writer.wait_closed()
        except TimeoutError:
            self._io_writer.transport.abort()


def _offers_encryption(greeting: bytes) -> bool:
    """Whether a server's first line, `INFO {…}`, says that the connection will be encrypted."""
    try:
        return msgspec.json.decode(greeting.partition(b" ")[2], type=_Greeting).tls_required
    except msgspec.MsgspecError:
        return False
