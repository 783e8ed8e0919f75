"""A process of receivers for `bench.deliveries`: on one port, and what it does with a POST its path says.

    /well    200 at once
    /fails   500 at once
    /hangs   no answer

For each request to `/well` it prints the body's `timestamp` and when the request came, both in milliseconds. As light
as Python allows, so that what is measured is the sender.
"""

import asyncio
import re
import sys
import time
from datetime import datetime
from typing import cast

import uvloop

_ANSWERS = {
    b"/well": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"/fails": b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno",
}
_TIMESTAMP = re.compile(rb'"timestamp":"([^"]+)"')
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class Receiver(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._held = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        self._held += data
        while (end := self._held.find(b"\r\n\r\n") + 4) > 3:
            length = _LENGTH.search(self._held, 0, end)
            stop = end + (int(length[1]) if length else 0)
            if len(self._held) < stop:
                return
            self._take(self._held.split(b" ", 2)[1], self._held[end:stop])
            self._held = self._held[stop:]

    def _take(self, path: bytes, body: bytes) -> None:
        path = b"/" + path.split(b"/")[1]
        if path == b"/well":
            told = _TIMESTAMP.search(body)
            if told is not None:
                at = datetime.fromisoformat(told[1].decode()).timestamp()
                sys.stdout.write(f"{at * 1000:.3f} {time.time() * 1000:.3f}\n")
        answer = _ANSWERS.get(path)
        if answer is not None and self._transport is not None:
            self._transport.write(answer)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Receiver, "127.0.0.1", port, backlog=4096)
    async with server:
        while True:
            await asyncio.sleep(0.1)
            sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
