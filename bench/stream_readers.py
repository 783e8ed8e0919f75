"""Thousands of readers of event streams in one process: `python -m bench.stream_readers`, told what to do line by line.

Commands come as JSON on standard input, one answer a line leaves on standard output. A reader is a bare protocol that
looks for the stamps of the writer (`@nanoseconds@`, by the clock that all processes of a machine share) and keeps how
long each was on its way, so that reading costs little beside what is measured.
"""

import asyncio
import re
import resource
import sys
from array import array
from time import monotonic_ns
from typing import Literal

import msgspec
import uvloop

_AT_ONCE = 100
_OPEN_SECONDS = 180.0
_RETRY_SECONDS = 1.0
_STAMP = re.compile(rb"@(\d+)@")
_TAIL_BYTES = 64
"""What is kept of one read, for a stamp that is cut in two."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """`open`: streams of `runs`, a reader each; `collect`: what arrived since; `close`: all of them."""

    do: Literal["open", "collect", "close"]
    port: int = 0
    key: str = ""
    runs: list[str] = []


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """How many streams are open; how many have ended since the last command, and the delays since then (µs).

    `refused` counts the attempts to open one that were answered 503, all in all.
    """

    open: int
    ended: int
    refused: int
    delays: list[int] = []


class Readers:
    """All readers of this process."""

    def __init__(self) -> None:
        self.delays = array("q")
        self.open: set[Reader] = set()
        self.ended = 0
        self.refused = 0

    async def connect(self, command: Command) -> None:
        """Open the streams, a hundred at a time; each is open once its first event came."""
        limit = asyncio.Semaphore(_AT_ONCE)

        async def one(run: str) -> None:
            async with limit:
                while not await self._begin(run, command):
                    await asyncio.sleep(_RETRY_SECONDS)  # 503: as a client does, it comes again
                    self.refused += 1

        async with asyncio.timeout(_OPEN_SECONDS):
            await asyncio.gather(*map(one, command.runs))

    async def _begin(self, run: str, command: Command) -> bool:
        reader = Reader(self)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: reader, "127.0.0.1", command.port)
        lines = (
            f"GET /v1/runs/{run}/events HTTP/1.1",
            "Host: bench",
            "Accept: text/event-stream",
            f"X-API-Key: {command.key}",
        )
        transport.write("\r\n".join((*lines, "", "")).encode())
        try:
            await reader.begun
        except ConnectionError:
            transport.abort()
            return False
        return True


class Reader(asyncio.Protocol):
    """One stream."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._tail = b""
        self.transport: asyncio.BaseTransport | None = None
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._readers.open.add(self)

    def data_received(self, data: bytes) -> None:
        now = monotonic_ns()
        text = self._tail + data
        end = 0
        for stamp in _STAMP.finditer(text):
            self._readers.delays.append((now - int(stamp[1])) // 1000)
            end = stamp.end()
        self._tail = text[max(end, len(text) - _TAIL_BYTES) :]
        if not self.begun.done() and b"event: run.requested" in text:
            self.begun.set_result(None)
        elif not self.begun.done() and text.startswith(b"HTTP/") and not text.startswith(b"HTTP/1.1 200"):
            self.begun.set_exception(ConnectionError(text[:500].decode("latin-1")))
        if text.endswith(b"\r\n0\r\n\r\n"):
            self._readers.ended += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._readers.open.discard(self)
        if not self.begun.done():
            self.begun.set_exception(ConnectionError("the stream ended before its first event"))


async def main() -> None:
    """Do what is said until the input ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    readers = Readers()
    decoder = msgspec.json.Decoder(Command)
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = decoder.decode(line)
        if command.do == "open":
            await readers.connect(command)
        elif command.do == "close":
            for reader in list(readers.open):
                if isinstance(reader.transport, asyncio.Transport):
                    reader.transport.abort()
        told = Told(
            open=len(readers.open), ended=readers.ended, refused=readers.refused, delays=readers.delays.tolist()
        )
        readers.delays, readers.ended = array("q"), 0
        sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(main())
