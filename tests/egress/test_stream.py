"""Answers that are read while they come, and what leaving early does."""

import asyncio
import zlib

import pytest

from libs.egress import Egress, Policy
from libs.runtime.failures import Retryable, Terminal
from tests.egress.conftest import Handler, Serve, answering, http, request_to

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/event-stream\r\n"


class Watch:
    """What a peer notices: that a request has arrived, and that its client has gone."""

    def __init__(self) -> None:
        self.arrived = asyncio.Event()
        self.gone = asyncio.Event()
        self.received = 0


def _watching(watch: Watch, answer: bytes) -> Handler:
    """A peer that answers with the beginning of something and then waits for its client to go."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        watch.arrived.set()
        try:
            while data := await reader.read(65_536):
                watch.received += len(data)
        finally:
            watch.gone.set()

    return handler


async def _soon(event: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        await event.wait()


async def test_chunks_arrive_before_the_answer_ends(egress: Egress, serve: Serve) -> None:
    more = asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + b"\r\n5\r\nfirst\r\n")
        await more.wait()
        writer.write(b"6\r\nsecond\r\n0\r\n\r\n")
        await writer.drain()

    async with egress.stream(request_to(await serve(handler))) as streamed:
        assert (streamed.status, streamed.headers["content-type"]) == (200, "text/event-stream")
        assert await anext(streamed.chunks) == b"first"
        more.set()
        assert [chunk async for chunk in streamed.chunks] == [b"second"]


async def test_compressed_chunks_are_given_out_as_they_are_flushed(egress: Egress, serve: Serve) -> None:
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(b"data: 1\n\n") + packer.flush(zlib.Z_SYNC_FLUSH)
    watch = Watch()
    start = HEAD + b"Content-Encoding: gzip\r\n\r\n%x\r\n%s\r\n" % (len(first), first)
    async with egress.stream(request_to(await serve(_watching(watch, start)))) as streamed:
        assert await anext(streamed.chunks) == b"data: 1\n\n"
    await _soon(watch.gone)


async def test_the_total_of_a_stream_is_bounded(egress: Egress, serve: Serve) -> None:
    base = await serve(answering(HEAD + b"\r\n" + b"5\r\nfirst\r\n" * 10 + b"0\r\n\r\n"))
    async with egress.stream(request_to(base, max_body_bytes=49)) as streamed:
        with pytest.raises(Terminal, match="larger than 49 bytes"):
            async for _ in streamed.chunks:
                pass


async def test_leaving_early_closes_the_connection(egress: Egress, serve: Serve) -> None:
    watch = Watch()
    base = await serve(_watching(watch, HEAD + b"\r\n5\r\nfirst\r\n"))
    async with egress.stream(request_to(base)) as streamed:
        assert await anext(streamed.chunks) == b"first"
        assert not watch.gone.is_set()
    await _soon(watch.gone)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200", HEAD + b"\r\n5\r\nfirst\r\n"], ids=["no answer", "half a head", "half a body"]
)
async def test_cancelling_closes_the_connection(answer: bytes, egress: Egress, serve: Serve) -> None:
    watch = Watch()
    task = asyncio.create_task(egress.fetch(request_to(await serve(_watching(watch, answer)), timeout_seconds=60.0)))
    await _soon(watch.arrived)
    assert not watch.gone.is_set()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _soon(watch.gone)


@pytest.mark.parametrize("answer", [b"", http(b"too early")], ids=["no answer", "an early answer"])
async def test_what_was_not_sent_yet_is_not_sent_after_the_end(answer: bytes, egress: Egress, serve: Serve) -> None:
    """A peer that does not read cannot hold the socket, nor get the rest of the body later."""
    body = bytes(64_000_000)
    seen, read_on, gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
    received = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        seen.set()
        await read_on.wait()
        try:
            while data := await reader.read(65_536):
                received += len(data)
        finally:
            gone.set()

    base = await serve(handler)
    task = asyncio.create_task(egress.fetch(request_to(base, method="POST", body=body, timeout_seconds=60.0)))
    await _soon(seen)
    if answer:
        assert (await task).body == b"too early"
    else:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    read_on.set()
    await _soon(gone)
    assert received < len(body) / 2


async def test_a_reader_that_comes_too_late_finds_nothing(egress: Egress, serve: Serve) -> None:
    async with egress.stream(request_to(await serve(answering(http(b"body"))), timeout_seconds=0.1)) as streamed:
        await asyncio.sleep(0.11)
        with pytest.raises(Retryable) as failed:
            await anext(streamed.chunks)
    assert failed.value.code == "node_timeout"


async def test_closing_the_client_ends_what_is_open(serve: Serve) -> None:
    watch = Watch()
    client = Egress(Policy.parse("127.0.0.1"))
    task = asyncio.create_task(client.fetch(request_to(await serve(_watching(watch, b"")), timeout_seconds=60.0)))
    await _soon(watch.arrived)
    await client.close()
    with pytest.raises(Retryable):
        await task
    await _soon(watch.gone)
