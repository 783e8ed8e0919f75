"""Real peers on loopback, and a recorder of every connection and lookup that this process begins."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from libs.egress import Egress, Policy, Request

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[..., Awaitable[str]]
Names = dict[str, list[str]]

_recorded: list[tuple[str, Any]] = []


def _record(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        _recorded.append((event, args[1]))
    elif event == "socket.getaddrinfo":
        _recorded.append((event, args[0]))


# An audit hook sees the socket calls themselves, whoever makes them; it cannot be taken away again.
sys.addaudithook(_record)


@pytest.fixture
def recorder() -> list[tuple[str, Any]]:
    """The socket calls since the test began."""
    _recorded.clear()
    return _recorded


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """What the system's resolver answers for the names that a test enters here."""
    table: Names = {}
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int | None, *args: Any, **kwargs: Any) -> Any:
        if host not in table:
            return real(host, port, *args, **kwargs)
        return [found for address in table[host] for found in real(address, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return table


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a TCP server that runs a handler for each connection; gives its base URL."""
    servers: list[asyncio.Server] = []
    tasks: list[asyncio.Task[Any]] = []

    async def start(handler: Handler, **options: Any) -> str:
        async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            # Cancelled by the end of the test: the stream's own callback would report that as an error.
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await handler(reader, writer)
            writer.close()

        server = await asyncio.start_server(run, "127.0.0.1", 0, **options)
        servers.append(server)
        scheme = "https" if options.get("ssl") else "http"
        return f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    """A client that may also reach IPv4 loopback."""
    async with Egress(Policy.parse("127.0.0.0/8")) as client:
        yield client


@pytest.fixture
async def public() -> AsyncIterator[Egress]:
    """A client for which nothing was opened."""
    async with Egress(Policy()) as client:
        yield client


@pytest.fixture
def refused_port() -> Iterator[int]:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def request_to(url: str, **changes: Any) -> Request:
    """A GET with bounds that a test does not reach by accident."""
    settings: dict[str, Any] = {"method": "GET", "timeout_seconds": 10.0, "max_body_bytes": 1_000_000, **changes}
    return Request(url=url, **settings)


def answering(answer: bytes) -> Handler:
    """A peer that reads one request head, sends `answer` as it is and closes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return handler


def http(body: bytes = b"", *headers: str, status: str = "200 OK") -> bytes:
    """An HTTP answer with its length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
