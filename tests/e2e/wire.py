"""An event stream read from a bare socket, so that it can be cut at any byte, and what a client makes of the bytes.

Not our own parser of events (`cli.sse`): what the product sends is judged by a second reading of the standard.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec

_READ_SECONDS = 20.0


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One event as it came, or a comment (`event` is then empty)."""

    id: str = ""
    event: str = ""
    data: Any = None
    comment: str = ""
    retry: str = ""


class Wire:
    """One GET over one connection. `raw` is everything that came; made by `wire`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.raw = b""

    @property
    def status(self) -> int:
        """Of the answer, whose head must have been read."""
        return int(self.raw.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer, by names in lower case."""
        lines = self.raw.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def body(self) -> bytes:
        """What came of the body, without its chunked coding (RFC 9112, 7.1); a chunk may be incomplete."""
        rest, body = self.raw.partition(b"\r\n\r\n")[2], b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            if not rest:
                break
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return body

    @property
    def frames(self) -> list[Frame]:
        """The frames that came whole."""
        whole = self.body.split(b"\n\n")[:-1]
        return [_frame(text.decode()) for text in whole]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that came whole."""
        return [frame.data for frame in self.frames if frame.event]

    async def read_head(self) -> None:
        """Read until the body begins."""
        while b"\r\n\r\n" not in self.raw:
            await self._more(65536)

    async def read_bytes(self, count: int) -> None:
        """Read until `count` bytes came in all, head and coding included, or the connection ended."""
        while len(self.raw) < count and await self._more(count - len(self.raw)):
            pass

    async def read_until(self, event: str) -> None:
        """Read until an event of this type came."""
        while not any(frame.event == event for frame in self.frames):
            assert await self._more(65536), "the stream ended before"

    async def read_all(self) -> None:
        """Read to the end of the answer: its last chunk, or for one without a body its head."""
        await self.read_head()
        while "transfer-encoding" in self.headers and not self.raw.endswith(b"\r\n0\r\n\r\n"):
            assert await self._more(65536), "the stream broke off"

    def cut(self) -> None:
        """Reset the connection."""
        self._writer.transport.abort()

    async def _more(self, count: int) -> bool:
        async with asyncio.timeout(_READ_SECONDS):
            got = await self._reader.read(count)
        self.raw += got
        return bool(got)


@asynccontextmanager
async def wire(
    url: str,
    headers: dict[str, str],
    *,
    after: str = "",
    accept: str = "text/event-stream",
    window: int = 0,
    version: str = "1.1",
) -> AsyncIterator[Wire]:
    """Ask for `url` as an event stream, after the event with id `after`.

    With `window` about so many bytes are taken ahead of being read: by the kernel, and as much again here.
    """
    parts = urlsplit(url)
    connection = socket.socket()
    if window:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (parts.hostname, parts.port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=window or 65536)
    asked = {"Host": parts.netloc, "Accept": accept, **headers, **({"Last-Event-ID": after} if after else {})}
    lines = [f"GET {parts.path} HTTP/{version}", *(f"{name}: {value}" for name, value in asked.items()), "", ""]
    writer.write("\r\n".join(lines).encode())
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def _frame(text: str) -> Frame:
    fields: dict[str, str] = {}
    for line in text.split("\n"):
        name, colon, value = line.partition(":")
        assert colon, f"a line without a colon: {line!r}"
        fields[name or "comment"] = value.removeprefix(" ")
    data = json.loads(fields["data"]) if "data" in fields else None
    return Frame(
        id=fields.get("id", ""),
        event=fields.get("event", ""),
        data=data,
        comment=fields.get("comment", ""),
        retry=fields.get("retry", ""),
    )
