"""A TCP relay on loopback whose connections can be cut, stalled or made lossy one way, or refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from cli.ports import random_port

_CHUNK_BYTES = 64 * 1024


class _Way:
    """One direction of a connection: bytes pass, wait (`open` is clear) or are thrown away (`lossy`)."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.open = asyncio.Event()
        self.open.set()
        self.lossy = False
        self.lost_bytes = 0

    async def pass_on(self) -> None:
        with suppress(OSError):
            while chunk := await self._reader.read(_CHUNK_BYTES):
                await self.open.wait()
                if self.lossy:
                    self.lost_bytes += len(chunk)
                    continue
                self.writer.write(chunk)
                await self.writer.drain()


class Proxy:
    """Passes bytes between its own port and `target_port`. Made by `proxy_to`.

    Faults are those of the connections there are; new ones are sound. Loss is told from outside by a client that
    sends one message at a time: a message that is lost in its middle breaks the protocol.
    """

    def __init__(self, target_port: int) -> None:
        self.port = random_port(avoid={target_port})
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._requests: set[_Way] = set()
        self._answers: set[_Way] = set()

    @property
    def url(self) -> str:
        """Where a NATS client connects to go through here."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def lost_bytes(self) -> int:
        """How much was thrown away, of the connections there are."""
        return sum(way.lost_bytes for way in self._requests | self._answers)

    async def accept(self) -> None:
        """Take connections (again)."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    async def refuse(self) -> None:
        """Cut all connections and let nobody in."""
        if self._server is not None:
            self._server.close()
            self.drop()
            await self._server.wait_closed()

    def drop(self) -> None:
        """Cut all connections at once; bytes on their way are lost."""
        for way in self._requests | self._answers:
            way.writer.transport.abort()

    def stall(self) -> None:
        """Let nothing through either way, nor close anything: a cut cable."""
        for way in self._requests | self._answers:
            way.open.clear()

    def stall_answers(self) -> None:
        """Let the client's bytes through and none back: acknowledgements do not arrive."""
        for way in self._answers:
            way.open.clear()

    def lose_requests(self) -> None:
        """Throw away what the client sends."""
        for way in self._requests:
            way.lossy = True

    def lose_answers(self) -> None:
        """Throw away what the server sends."""
        for way in self._answers:
            way.lossy = True

    def resume(self) -> None:
        """Let everything through, what waited first."""
        for way in self._requests | self._answers:
            way.lossy = False
            way.open.set()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        request, answer = _Way(reader, target_writer), _Way(target_reader, writer)
        self._requests.add(request)
        self._answers.add(answer)
        passing = [asyncio.ensure_future(way.pass_on()) for way in (request, answer)]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in passing:
                task.cancel()
            self._requests.discard(request)
            self._answers.discard(answer)
            writer.transport.abort()
            target_writer.transport.abort()


@asynccontextmanager
async def proxy_to(target_port: int) -> AsyncIterator[Proxy]:
    """A proxy that takes connections."""
    proxy = Proxy(target_port)
    await proxy.accept()
    try:
        yield proxy
    finally:
        await proxy.refuse()
