"""The OpenAI protocol over connections that are used again."""

import asyncio

from libs.egress import Egress
from libs.flows import ModelCall
from libs.runtime.providers import Endpoint
from services.executor.models.openai import OpenAI
from tests.egress.conftest import Handler, Serve

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DELTA = b'{"model":"m","choices":[{"delta":{"content":"word"},"finish_reason":"stop"}]}'
CALL = ModelCall(model="here/m", messages=[], temperature=None, max_tokens=None, stream=True)


def chunk(data: bytes) -> bytes:
    event = b"data: " + data + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


def speaking(connections: list[int], end_after_seconds: float | None) -> Handler:
    """A server that ends its answer so long after `[DONE]`, or never; it counts the calls on each connection."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        place = len(connections) - 1
        while (head := await reader.readuntil(b"\r\n\r\n")).startswith(b"POST"):
            await reader.readexactly(int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]))
            connections[place] += 1
            writer.write(HEAD + chunk(DELTA) + chunk(b"[DONE]"))
            await writer.drain()
            if end_after_seconds is None:
                await asyncio.sleep(60)
            else:
                await asyncio.sleep(end_after_seconds)
                writer.write(b"0\r\n\r\n")

    return handler


async def say_nothing(text: str, reasoning: str) -> None:
    del text, reasoning


async def test_an_answer_that_ends_after_it_is_done_leaves_its_connection_to_the_next(
    egress: Egress, serve: Serve
) -> None:
    connections: list[int] = []
    model = OpenAI(egress, "here", Endpoint(base_url=await serve(speaking(connections, 0.01))))
    for _ in range(3):
        assert (await model.complete("m", CALL, "key", say_nothing)).text == "word"
    assert connections == [3]


async def test_an_answer_that_never_ends_is_not_waited_for(egress: Egress, serve: Serve) -> None:
    connections: list[int] = []
    model = OpenAI(egress, "here", Endpoint(base_url=await serve(speaking(connections, None))))
    async with asyncio.timeout(5):
        for _ in range(2):
            assert (await model.complete("m", CALL, "key", say_nothing)).text == "word"
    assert connections == [1, 1]
