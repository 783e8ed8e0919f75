"""Every bound of an answer: its body, compressed or not, its headers, its time."""

import asyncio
import gzip
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from libs.egress import Egress, Policy
from libs.runtime.failures import Retryable, Terminal
from tests.egress.conftest import Serve, answering, http, request_to

TEXT = b"Headgate " * 20_000
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("GZIP", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
        ("x-gzip", gzip.compress(TEXT) + b"\0\0trailing"),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", _raw_deflate(TEXT)),
        ("identity", TEXT),
    ],
    ids=["gzip", "members", "trailing bytes", "zlib", "raw deflate", "identity"],
)
async def test_bodies_are_decompressed(encoding: str, body: bytes, egress: Egress, serve: Serve) -> None:
    answer = await egress.fetch(request_to(await serve(answering(http(body, f"Content-Encoding: {encoding}")))))
    assert answer.body == TEXT
    assert ("content-encoding" in answer.headers) is (encoding == "identity")


async def test_a_body_may_be_as_large_as_its_bound(egress: Egress, serve: Serve) -> None:
    base = await serve(answering(http(TEXT)))
    assert (await egress.fetch(request_to(base, max_body_bytes=len(TEXT)))).body == TEXT
    with pytest.raises(Terminal, match=f"larger than {len(TEXT) - 1} bytes") as failed:
        await egress.fetch(request_to(base, max_body_bytes=len(TEXT) - 1))
    assert failed.value.code == "node_failed"


async def test_a_small_body_is_bounded_too(egress: Egress, serve: Serve) -> None:
    base = await serve(answering(http(b"x" * 1_000)))
    assert len((await egress.fetch(request_to(base, max_body_bytes=1_000))).body) == 1_000
    with pytest.raises(Terminal, match="larger than 999 bytes"):
        await egress.fetch(request_to(base, max_body_bytes=999))


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", lambda: gzip.compress(bytes(100_000_000))),
        ("deflate", lambda: zlib.compress(bytes(100_000_000))),
        ("gzip", lambda: gzip.compress(bytes(100_000)) * 900),
    ],
    ids=["gzip", "deflate", "members"],
)
async def test_a_bomb_is_defused_while_it_streams(
    encoding: str, pack: Callable[[], bytes], egress: Egress, serve: Serve
) -> None:
    body = pack()
    base = await serve(answering(http(body, f"Content-Encoding: {encoding}")))
    tracemalloc.start()
    try:
        with pytest.raises(Terminal, match="larger than 1000000 bytes"):
            await egress.fetch(request_to(base))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize(
    ("encoding", "body", "failure"),
    [
        ("gzip", gzip.compress(TEXT)[:-9], Retryable),
        ("gzip", b"not gzip at all", Retryable),
        ("deflate", b"\x78\x9cnot deflate", Retryable),
        ("gzip", gzip.compress(b"") * 1_001, Terminal),
        ("br", b"x", Terminal),
        ("zstd", b"x", Terminal),
        ("gzip, gzip", gzip.compress(gzip.compress(TEXT)), Terminal),
    ],
    ids=["cut short", "not gzip", "not deflate", "empty members", "brotli", "zstd", "stacked"],
)
async def test_what_does_not_decompress_fails(
    encoding: str, body: bytes, failure: type[Exception], egress: Egress, serve: Serve
) -> None:
    base = await serve(answering(http(body, f"Content-Encoding: {encoding}")))
    with pytest.raises(failure) as failed:
        await egress.fetch(request_to(base))
    assert failed.value.code == "node_failed"


@pytest.mark.parametrize(
    ("headers", "piece"),
    [(b"", b"x" * 65_536), (b"", b"x"), (b"Content-Encoding: deflate\r\n", b"\x00\x00\x00\xff\xff" * 13_000)],
    ids=["large chunks", "small chunks", "compressed nothing"],
)
async def test_an_endless_body_is_cut_off(headers: bytes, piece: bytes, egress: Egress, serve: Serve) -> None:
    gone = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED + headers + b"\r\n")
        block = b"%x\r\n%s\r\n" % (len(piece), piece)
        try:
            while True:
                writer.write(block * (70_000 // len(block) + 1))
                await writer.drain()
        finally:
            gone.set()

    with pytest.raises(Terminal, match="larger than 100000 bytes"):
        await egress.fetch(request_to(await serve(endless), max_body_bytes=100_000))
    async with asyncio.timeout(5):
        await gone.wait()


@pytest.mark.parametrize(
    "headers",
    [b"X: %s\r\n" % (b"a" * 70_000), b"X: a\r\n" * 200, b"X: %s\r\n" % (b"a" * 8_000) * 9],
    ids=["one long", "many", "long together"],
)
async def test_headers_are_bounded(headers: bytes, egress: Egress, serve: Serve) -> None:
    base = await serve(answering(b"HTTP/1.1 200 OK\r\n" + headers + b"Content-Length: 0\r\n\r\n"))
    with pytest.raises(Terminal, match="headers of the answer") as failed:
        await egress.fetch(request_to(base))
    assert failed.value.code == "node_failed"


def _dripping(start: bytes, drop: bytes) -> Any:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(start)
        while drop:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.01)
        await reader.read()

    return handler


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"", b""),
        (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"a"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"a"),
        (CHUNKED + b"\r\n", b"1\r\na\r\n"),
        (CHUNKED + b"Content-Encoding: gzip\r\n\r\na\r\n" + gzip.compress(b"")[:10] + b"\r\n", b""),
    ],
    ids=["silence", "slow header", "endless 100", "no body", "slow body", "slow chunks", "slow gzip"],
)
async def test_the_time_of_a_request_is_total(start: bytes, drop: bytes, egress: Egress, serve: Serve) -> None:
    url = f"{await serve(_dripping(start, drop))}/?key=canary"
    with pytest.raises(Retryable, match=r"127\.0\.0\.1 did not answer in time") as failed:
        await asyncio.wait_for(egress.fetch(request_to(url, timeout_seconds=0.15)), 5)
    assert failed.value.code == "node_timeout"


async def test_a_redirect_does_not_renew_the_time(egress: Egress, serve: Serve) -> None:
    async def slowly_around(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.1)
        writer.write(http(b"", "Location: /again", "Connection: close", status="302 Found"))
        await writer.drain()

    with pytest.raises(Retryable) as failed:
        await egress.fetch(request_to(await serve(slowly_around), timeout_seconds=0.25))
    assert failed.value.code == "node_timeout"


async def test_silence_is_bounded_apart_from_the_total(egress: Egress, serve: Serve) -> None:
    base = await serve(_dripping(CHUNKED + b"\r\n1\r\na\r\n", b""))
    with pytest.raises(Retryable) as failed:
        await asyncio.wait_for(egress.fetch(request_to(base, timeout_seconds=60.0, idle_timeout_seconds=0.1)), 5)
    assert failed.value.code == "node_timeout"


async def test_a_slow_but_steady_answer_is_not_silent(egress: Egress, serve: Serve) -> None:
    async def steady(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED + b"\r\n")
        for _ in range(10):
            writer.write(b"1\r\na\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)
        writer.write(b"0\r\n\r\n")

    answer = await egress.fetch(request_to(await serve(steady), idle_timeout_seconds=0.3))
    assert answer.body == b"a" * 10


async def test_connecting_has_a_time_of_its_own() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        # The system drops further handshakes once nobody takes the first ones from the queue.
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        try:
            async with Egress(Policy.parse("127.0.0.1"), connect_timeout_seconds=0.2) as client:
                url = f"http://127.0.0.1:{full.getsockname()[1]}/"
                with pytest.raises(Retryable) as failed:
                    await asyncio.wait_for(client.fetch(request_to(url, timeout_seconds=60.0)), 5)
            assert failed.value.code == "node_timeout"
        finally:
            for one in waiting:
                one.close()


async def test_a_lookup_that_hangs_ends_with_the_time_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(5) and [])
    try:
        async with Egress(Policy(), connect_timeout_seconds=0.1) as client:
            with pytest.raises(Retryable) as failed:
                await client.fetch(request_to("http://slow.example.com/", timeout_seconds=60.0))
        assert failed.value.code == "node_timeout"
    finally:
        release.set()
