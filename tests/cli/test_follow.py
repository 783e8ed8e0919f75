"""A run is followed to its end though connections break, and is started once. The server here only speaks the
contract's words: what is tested is the client, against a wire that cuts."""

import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from cli.api import Api, ApiError, UnreachableError, connected
from cli.follow import follow, start_and_follow
from cli.ports import random_port

KINDS = ["run.requested", "run.started", "node.started", "node.finished", "run.completed"]


class Wire:
    """Serves the five events of one run, `served` of them a connection, then cuts it."""

    def __init__(self, served: int) -> None:
        self.served = served
        self.keys: list[str] = []
        self.resumed_after: list[str] = []

    async def start_run(self, request: web.Request) -> web.StreamResponse:
        self.keys.append(request.headers["Idempotency-Key"])
        return await self._send(request, 0)

    async def resume(self, request: web.Request) -> web.StreamResponse:
        after = request.headers.get("Last-Event-ID", "0")
        self.resumed_after.append(after)
        return web.Response(status=204) if int(after) >= len(KINDS) else await self._send(request, int(after))

    async def _send(self, request: web.Request, after: int) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        for seq in range(after + 1, min(after + self.served, len(KINDS)) + 1):
            kind = KINDS[seq - 1]
            data = f'{{"seq":{seq},"type":"{kind}","run_id":"run_1","at":"2026-01-01T00:00:00Z","data":{{}}}}'
            await stream.write(f"id: {seq}\nevent: {kind}\ndata: {data}\n\n".encode())
        assert request.transport is not None
        request.transport.abort()
        return stream


@pytest.fixture
async def served(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Api, Wire]]:
    wire = Wire(request.param)
    app = web.Application()
    app.router.add_post("/v1/deployments/greeter/runs", wire.start_run)
    app.router.add_get("/v1/runs/run_1/events", wire.resume)
    runner = web.AppRunner(app)
    await runner.setup()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        await web.SockSite(runner, listening).start()
        async with connected(f"http://127.0.0.1:{listening.getsockname()[1]}", "sk-x") as api:
            yield api, wire
        await runner.cleanup()


@pytest.mark.parametrize("served", [2], indirect=True)
async def test_a_broken_stream_is_resumed_after_its_last_event(served: tuple[Api, Wire]) -> None:
    api, wire = served
    seen = [event.type async for event in start_and_follow(api, "greeter", {})]
    assert seen == KINDS
    assert wire.resumed_after == ["2", "4"]
    assert len(wire.keys) == 1


@pytest.mark.parametrize("served", [5], indirect=True)
async def test_a_run_started_elsewhere_is_followed_from_its_beginning(served: tuple[Api, Wire]) -> None:
    api, wire = served
    assert [event.seq async for event in follow(api, "run_1")] == [1, 2, 3, 4, 5]
    assert wire.resumed_after == ["0"]


@pytest.mark.parametrize("served", [0], indirect=True)
async def test_a_start_that_was_cut_is_repeated_as_the_same_request(served: tuple[Api, Wire]) -> None:
    api, wire = served
    with pytest.raises(UnreachableError):
        async for _ in start_and_follow(api, "greeter", {}):
            pass
    assert len(wire.keys) == 3
    assert len(set(wire.keys)) == 1


@pytest.mark.parametrize("served", [5], indirect=True)
async def test_a_refusal_is_not_tried_again(served: tuple[Api, Wire]) -> None:
    api, _ = served
    with pytest.raises(ApiError) as refusal:
        async for _ in start_and_follow(api, "unknown", {}):
            pass
    assert refusal.value.status == 404


async def test_a_server_that_is_not_there_is_named_with_what_to_do() -> None:
    address = f"http://127.0.0.1:{random_port()}"
    async with connected(address, "") as api:
        with pytest.raises(UnreachableError, match=address) as failure:
            await api.call("GET", "/v1/flows")
    assert "make run" in failure.value.hint
