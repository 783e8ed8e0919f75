"""The generator of load against real listeners: what it counts, and what it does not take for an answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiohttp import web

from bench.load import Order, answer_length, generate, percentile

Handler = Callable[[web.Request], Awaitable[web.Response]]


@asynccontextmanager
async def listening(handler: Handler) -> AsyncIterator[int]:
    app = web.Application()
    app.router.add_post("/runs", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def order(port: int, *, connections: int = 4, path: str = "/runs", warmup_seconds: float = 0.0) -> Order:
    return Order(
        port=port,
        path=path,
        headers={"X-API-Key": "sk-test"},
        body='{"input":{}}',
        expect="completed",
        connections=connections,
        seconds=0.2,
        warmup_seconds=warmup_seconds,
    )


async def test_every_request_is_whole_and_every_good_answer_counted() -> None:
    seen = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal seen
        assert request.headers["X-API-Key"] == "sk-test"
        assert await request.json() == {"input": {}}
        seen += 1
        return web.json_response({"status": "completed"})

    async with listening(answer) as port:
        load = await generate(order(port))
    assert load.failures == 0
    assert load.answered == load.counted == seen > 4
    assert 0 < load.p50_milliseconds <= load.p99_milliseconds


async def test_the_warm_up_is_not_counted_with_the_rest() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"status": "completed"})

    async with listening(answer) as port:
        load = await generate(order(port, warmup_seconds=0.2))
    assert 0 < load.counted < load.answered


async def test_answers_that_are_not_what_was_expected_are_failures() -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"status": "failed"})

    async with listening(answer) as port:
        failed, unknown = await generate(order(port)), await generate(order(port, path="/elsewhere"))
    for load in (failed, unknown):
        assert load.failures > 0
        assert load.answered == load.counted == 0


async def test_a_connection_that_breaks_is_one_failure() -> None:
    def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        load = await generate(order(server.sockets[0].getsockname()[1], connections=3))
    assert (load.failures, load.answered) == (3, 0)


async def test_what_is_still_unanswered_is_waited_for_as_long_as_the_order_says() -> None:
    asked, allowed = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        asked.set()
        await allowed.wait()
        return web.json_response({"status": "completed"})

    async with listening(answer) as port:
        hasty = await generate(msgspec.structs.replace(order(port), patience_seconds=0.1))
        assert (hasty.failures, hasty.answered) == (4, 0)
        asked.clear()
        patient = asyncio.create_task(generate(order(port)))
        await asked.wait()
        asyncio.get_running_loop().call_later(0.4, allowed.set)
        found = await patient
    assert (found.failures, found.counted) == (0, 4)


def test_the_length_of_an_answer_is_known_once_its_head_is_there() -> None:
    head = b"HTTP/1.1 200 OK\r\nDate: today\r\ncontent-length: 2\r\n\r\n"
    assert [answer_length(head[:end]) for end in (0, 20, len(head) - 1)] == [None] * 3
    assert answer_length(head) == answer_length(head + b"{}") == len(head) + 2
    with pytest.raises(ValueError, match="Content-Length"):
        answer_length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")


def test_percentiles_are_of_the_nearest_rank() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [1.0, 50.0, 99.0, 100.0]
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([], 0.5) == 0.0
