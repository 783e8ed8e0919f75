"""A call that comes whole is answered as any other is; what is not plain goes the library's way, and its connection."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from libs.edge.whole import Detour, ExpressRoutes, is_whole
from libs.runtime.listener import listen
from libs.runtime.preread import Preread
from tests.api.client import Caller
from tests.api.wire import Wire, head
from tests.stack import Stack

RUNS = "/v1/deployments/some/runs"
BODY = b'{"input": {}}'
PLAIN: dict[str, str | bytes] = {"Content-Length": str(len(BODY)), "X-Given": "  spaces  "}
_NEW_ID = re.compile(r"_[0-9a-z]{26,28}$")
_CHANGING = re.compile(r'"(id|request_id|created_at|started_at|finished_at|duration_seconds)":("[^"]*"|[0-9.e-]+)')


class Server:
    """A listener whose one route tells how it was reached. `gate` holds its answers back."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.handled = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        whole = is_whole(request)
        if "X-Detour" in request.headers and whole:
            raise Detour
        self.handled += 1
        await self.gate.wait()
        body = request.body if whole else await request.read()  # type: ignore[attr-defined]  # of a whole request
        said = {"whole": whole, "body": len(body), "id": request.match_info["id"]}
        given = request.headers.get("X-Given", "")
        response = web.Response(body=json.dumps(said).encode(), headers={"X-Given": given}, status=201)
        if "X-Close" in request.headers:
            response.force_close()
        return response

    async def prepare(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Prepared"] = "yes"


@asynccontextmanager
async def listening() -> AsyncIterator[tuple[Server, int]]:
    server = Server()
    app = web.Application()
    app.router.add_post("/v1/deployments/{id}/runs", server.handle)
    express = ExpressRoutes([("/v1/deployments/{id}/runs", server.handle)], server.prepare, max_body_bytes=50_000)
    async with listen(app, "127.0.0.1", 0, drain_seconds=5.0, express=express) as port:
        yield server, port


async def ask(port: int, *parts: bytes, count: int = 0) -> list[dict[str, Any]]:
    """The first `count` answers (as many as parts) to the parts, each sent when the server had time for the last."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0.02)  # where bytes are cut is what is tested
    found = await answers(reader, count or len(parts))
    writer.close()
    return found


async def answers(reader: asyncio.StreamReader, count: int) -> list[dict[str, Any]]:
    """So many answers, or those before the end of the connection."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            try:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            except asyncio.IncompleteReadError:
                break
            length = int(lines.partition("content-length: ")[2].partition("\r\n")[0])
            body = await reader.readexactly(length)
            status = int(lines.split()[1])
            found.append({"status": status, "head": lines} | (json.loads(body) if status == 201 else {}))
    return found


async def test_a_whole_request_is_taken_past_the_library() -> None:
    async with listening() as (_, port):
        (answer,) = await ask(port, head("POST", RUNS, PLAIN) + BODY)

    assert (answer["whole"], answer["body"], answer["id"], answer["status"]) == (True, len(BODY), "some", 201)
    for line in ("x-given: spaces", "x-prepared: yes", "date: ", "server: ", "content-length: "):
        assert line in answer["head"]


LEFT = {
    "cut in its head": [head("POST", RUNS, PLAIN)[:30], head("POST", RUNS, PLAIN)[30:] + BODY],
    "in chunks": [head("POST", RUNS, {"Transfer-Encoding": "chunked"}) + b"d\r\n" + BODY + b"\r\n0\r\n\r\n"],
    "asking for the end": [head("POST", RUNS, {**PLAIN, "Connection": "close"}) + BODY],
    "with one header twice": [head("POST", RUNS, {**PLAIN, "x-given": "again"}) + BODY],
    "with letters from elsewhere": [head("POST", RUNS, {**PLAIN, "X-Name": "Ada Löve".encode()}) + BODY],
    "with a long head": [head("POST", RUNS, {**PLAIN, "X-Long": "x" * 7000, "X-Longer": "x" * 3000}) + BODY],
    "with a query": [head("POST", f"{RUNS}?a=b", PLAIN) + BODY],
    "with a path that is encoded": [head("POST", "/v1/deployments/s%6Fme/runs", PLAIN) + BODY],
    "larger than it may be": [head("POST", RUNS, {"Content-Length": "50001"}) + b"x" * 50_001],
    "larger than is held": [head("POST", RUNS, {"Content-Length": "70000"}), b"x" * 70_000],
    "that takes a detour": [head("POST", RUNS, {**PLAIN, "X-Detour": "1"}) + BODY],
    "that wants a stream": [head("POST", RUNS, {"Content-Length": "16"}) + b'{"stream": true}'],
    "that wants one by its mode": [head("POST", RUNS, {"Content-Length": "17"}) + b'{"mode":"stream"}'],
}


@pytest.mark.parametrize("what", list(LEFT))
async def test_what_is_not_plain_is_left_to_the_library(what: str) -> None:
    async with listening() as (server, port):
        (answer,) = await ask(port, *LEFT[what], count=1)

    assert (answer["status"], answer["whole"], answer["id"], server.handled) == (201, False, "some", 1)


async def test_a_request_that_wants_no_stream_is_plain() -> None:
    async with listening() as (_, port):
        (answer,) = await ask(port, head("POST", RUNS, {"Content-Length": "17"}) + b'{"stream": false}')

    assert answer["whole"]


async def test_a_body_may_come_after_its_head() -> None:
    start = head("POST", RUNS, PLAIN)
    async with listening() as (_, port):
        found = await ask(port, start, BODY[:4], BODY[4:], start + BODY[:1], BODY[1:], count=2)

    assert [(answer["whole"], answer["body"]) for answer in found] == [(True, len(BODY))] * 2


OTHERS = {
    "a call that takes a detour": [head("POST", RUNS, {**PLAIN, "X-Detour": "1"}) + BODY],
    "another method": [head("GET", "/nothing", {})],
    "a head that is cut": [head("POST", RUNS, PLAIN)[:40], head("POST", RUNS, PLAIN)[40:] + BODY],
    "two at once": [(head("POST", RUNS, PLAIN) + BODY) * 2],
    "one and the start of another": [head("POST", RUNS, PLAIN) + BODY + b"PO", head("POST", RUNS, PLAIN)[2:] + BODY],
}


@pytest.mark.parametrize("what", list(OTHERS))
async def test_the_library_keeps_a_connection_from_the_first_other_request_on(what: str) -> None:
    whole = head("POST", RUNS, PLAIN) + BODY
    others = 2 if what in ("two at once", "one and the start of another") else 1
    async with listening() as (_, port):
        found = await ask(port, whole, whole, *OTHERS[what], whole, count=3 + others)

    assert [answer.get("whole") or False for answer in found] == [True, True, *[False] * others, False]
    assert {answer["status"] for answer in found} <= {201, 404}


async def test_what_is_no_request_after_one_that_was_is_answered_as_such() -> None:
    async with listening() as (_, port):
        found = await ask(port, head("POST", RUNS, PLAIN) + BODY, b"\x16\x03\x01 nonsense\r\n\r\n")

    assert [answer["status"] for answer in found] == [201, 400]


async def test_a_body_that_does_not_come_is_the_library_s_to_wait_for() -> None:
    among: set[Preread] = set()
    handed: list[bytes] = []

    class Library(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            handed.append(data)

    server = Server()
    express = ExpressRoutes([("/v1/deployments/{id}/runs", server.handle)], server.prepare, max_body_bytes=50_000)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Preread(express, Library, among), "127.0.0.1", 0)
    async with listening:
        _, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        start = head("POST", RUNS, PLAIN) + BODY[:3]
        writer.write(start)
        async with asyncio.timeout(5):
            while not any(each.since for each in among):  # noqa: ASYNC110 - the protocol has no event for it
                await asyncio.sleep(0.01)
            (waiting,) = among
            while waiting.holds < len(start):  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.01)
            waiting.sweep(loop.time() + 5, idle_seconds=3600)
            assert handed == []
            waiting.sweep(loop.time() + 11, idle_seconds=3600)
        assert (handed, among) == ([start], set())
        _, other = await asyncio.open_connection(*listening.sockets[0].getsockname())
        async with asyncio.timeout(5):
            while not among:  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.01)
            (idle,) = among
            idle.sweep(loop.time() + 3601, idle_seconds=3600)
            while among:  # noqa: ASYNC110 - the same
                await asyncio.sleep(0.01)
        writer.close()
        other.close()


async def test_requests_that_are_sent_ahead_are_answered_in_order() -> None:
    whole = head("POST", RUNS, PLAIN) + BODY
    async with listening() as (server, port):
        server.gate.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for part in (whole, whole + whole[:50], whole[50:]):
            writer.write(part)
            await asyncio.sleep(0.02)
        assert server.handled == 1
        server.gate.set()
        found = await answers(reader, 3)
        writer.close()

    assert [answer["status"] for answer in found] == [201, 201, 201]


async def test_a_response_may_end_the_connection() -> None:
    async with listening() as (_, port):
        whole = head("POST", RUNS, {**PLAIN, "X-Close": "1"}) + BODY
        (answer,) = await ask(port, whole, whole)

    assert answer["whole"]
    assert "connection: close" in answer["head"]


async def test_a_listener_that_ends_finishes_what_is_under_way() -> None:
    async with listening() as (server, port):
        server.gate.clear()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head("POST", RUNS, PLAIN) + BODY)
        async with asyncio.timeout(5):
            while not server.handled:  # noqa: ASYNC110 - the handler has no event for its beginning
                await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_later(0.1, server.gate.set)

    (answer,) = await answers(reader, 2)
    assert (answer["status"], answer["whole"]) == (201, True)
    writer.close()


async def test_a_peer_that_leaves_harms_nobody() -> None:
    async with listening() as (server, port):
        server.gate.clear()
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head("POST", RUNS, PLAIN) + BODY)
            await writer.drain()
            writer.transport.abort()
        server.gate.set()
        (answer,) = await ask(port, head("POST", RUNS, PLAIN) + BODY)

    assert answer["whole"]


CALLS: dict[str, tuple[dict[str, str | bytes], bytes]] = {
    "a run": ({}, b'{"input": {"name": "Ada"}}'),
    "a run in the background": ({}, b'{"input": {"name": "Ada"}, "mode": "async"}'),
    "a stream": ({}, b'{"input": {"name": "Ada"}, "mode": "stream"}'),
    "an input that does not fit": ({}, b'{"input": {"name": 7}}'),
    "an unknown member": ({}, b'{"inputs": {}}'),
    "no JSON": ({}, b"{"),
    "no body": ({}, b""),
    "no key": ({"Authorization": ""}, b"{}"),
    "a wrong key": ({"Authorization": "Bearer sk-nobody"}, b"{}"),
    "two keys": ({"X-API-Key": "sk-another-key-than-the-other-one-0123456789"}, b"{}"),
    "no host that is one": ({"Host": "a b"}, b"{}"),
    "a key for once": ({"Idempotency-Key": '""'}, b'{"input": {"name": "Ada"}}'),
    "an id of its own": ({"X-Request-Id": "mine"}, b'{"input": {"name": 7}}'),
}


@pytest.mark.parametrize("what", list(CALLS))
async def test_both_ways_answer_the_same(stack: Stack, root: Caller, what: str) -> None:
    headers, body = CALLS[what]
    path = "/v1/deployments/whole-greeter/runs"
    await greeter(root)
    with Wire(stack.url) as wire:

        def call(**more: str) -> tuple[int, dict[str, str], str]:
            answer = wire.request("POST", path, {**stack.headers, **headers, **more}, body)
            kept = {name: value for name, value in answer.headers.items() if name not in ("Date", "Content-Length")}
            for name in kept.keys() & {"X-Request-Id", "Headgate-Run-Id", "Location"}:
                kept[name] = _NEW_ID.sub("_new", kept[name])
            return answer.status, kept, _CHANGING.sub("", answer.content.decode())

        if what == "a stream":
            with Wire(stack.url) as other:
                other.send(head("POST", path, {**stack.headers, "Content-Length": str(len(body))}) + body)
                assert other.answer().headers["Content-Type"].startswith("text/event-stream")
            return
        plain, library = call(), call(TE="trailers")
    assert plain == library


async def greeter(root: Caller) -> None:
    document = json.loads((Path(__file__).parents[2] / "examples/flows/greeter.json").read_text())
    document["slug"] = "whole-greeter"
    listed = await root.get("/v1/flows?limit=100")
    if any(flow["slug"] == "whole-greeter" for flow in listed["data"]):
        return
    flow = await root.post("/v1/flows", document, expect=201)
    await root.post(f"/v1/flows/{flow['id']}/deployments", {"mode": "sync"}, expect=201)
