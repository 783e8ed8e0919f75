"""A process that stops serves on for a moment, and ends each connection with its answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from libs.runtime.listener import listen

REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


@asynccontextmanager
async def serving(
    linger_seconds: float, leaving: asyncio.Event, held: asyncio.Event | None = None
) -> AsyncIterator[int]:
    """A port that is served until `leaving` is set, and its linger after it. Nothing is said until `held` is set."""

    async def answer(_: web.Request) -> web.Response:
        if held is not None:
            await held.wait()
        return web.Response(text="yes")

    app = web.Application()
    app.router.add_get("/", answer)
    opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serve() -> None:
        async with listen(app, "127.0.0.1", 0, drain_seconds=5.0, linger_seconds=linger_seconds) as port:
            opened.set_result(port)
            await leaving.wait()

    task = asyncio.create_task(serve())
    try:
        yield await opened
    finally:
        leaving.set()
        await task


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """One request over a connection; the head of its answer, b"" where there was none."""
    writer.write(REQUEST)
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(3)
    return head


async def closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(5):
        return await reader.read(1) == b""


async def test_a_connection_that_is_kept_open_is_ended_by_its_next_answer() -> None:
    leaving = asyncio.Event()
    async with serving(linger_seconds=1.0, leaving=leaving) as port:
        kept = await asyncio.open_connection("127.0.0.1", port)
        assert b"Connection: close" not in await ask(*kept)
        leaving.set()
        await asyncio.sleep(0)
        assert b"Connection: close" in await ask(*kept)
        assert await closed(kept[0])
        fresh = await asyncio.open_connection("127.0.0.1", port)
        assert b"Connection: close" in await ask(*fresh)
        assert await closed(fresh[0])


async def test_a_request_that_is_under_way_longer_than_that_ends_its_connection_too() -> None:
    leaving, held = asyncio.Event(), asyncio.Event()
    async with serving(linger_seconds=0.2, leaving=leaving, held=held) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        asking = asyncio.create_task(ask(reader, writer))
        await until_refused(port, leaving)
        held.set()
        assert b"Connection: close" in await asking


async def until_refused(port: int, leaving: asyncio.Event) -> None:
    """Return once nobody listens any more: the linger is over."""
    other = await asyncio.open_connection("127.0.0.1", port)
    other[1].close()
    leaving.set()
    async with asyncio.timeout(5):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return
            writer.close()
            await asyncio.sleep(0.02)


async def test_without_a_linger_idle_connections_end_at_once() -> None:
    leaving = asyncio.Event()
    async with serving(linger_seconds=0.0, leaving=leaving) as port:
        kept = await asyncio.open_connection("127.0.0.1", port)
        await ask(*kept)
        leaving.set()
        assert await closed(kept[0])
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
