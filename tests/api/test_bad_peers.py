"""What a run meets outside: peers that never end, never answer, are not there, or must not be called.

Each run ends, in bounded time, as failed, and says what happened and where.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.api.client import Caller
from tests.flows.documents import chain, node

Serve = Callable[[Callable[[asyncio.StreamWriter], Awaitable[None]]], Awaitable[str]]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<title>For ever</title>"


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server whose every answer is what a function writes; gives its address."""
    servers: list[asyncio.Server] = []

    async def start(answer: Callable[[asyncio.StreamWriter], Awaitable[None]]) -> str:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                await answer(writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

    yield start
    for server in servers:
        server.close()


async def run_with(caller: Caller, config_of: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """A run of a flow with this one node; and how long its answer took."""
    deployment = await caller.deploy(chain(node("in", "api_input"), config_of))
    loop = asyncio.get_running_loop()
    began = loop.time()
    run = await caller.post(f"/v1/deployments/{deployment['id']}/runs")
    events = (await caller.get(f"/v1/runs/{run['id']}/events"))["data"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == f"run.{run['status']}"
    return run, loop.time() - began


async def test_a_page_that_never_ends_fails_at_the_limit_of_its_size(caller: Caller, serve: Serve) -> None:
    async def flood(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while True:
            writer.write(b"<p>more</p>" * 10_000)
            await writer.drain()

    run, seconds = await run_with(caller, node("page", "web_scraper", {"url": await serve(flood)}))
    assert (run["status"], run["error"]["node"], run["error"]["code"]) == ("failed", "page", "node_failed")
    assert "bytes" in run["error"]["message"]
    assert seconds < 10


async def test_a_page_that_trickles_for_ever_fails_at_the_node_s_time(caller: Caller, serve: Serve) -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while True:
            writer.write(b"<p>more</p>")
            await writer.drain()
            await asyncio.sleep(0.02)

    run, seconds = await run_with(
        caller, node("page", "web_scraper", {"url": await serve(trickle)}, timeout_seconds=0.3)
    )
    assert (run["status"], run["error"]["node"], run["error"]["code"]) == ("failed", "page", "node_timeout")
    assert "0.3 s" in run["error"]["message"]
    assert 0.3 <= seconds < 5


async def test_a_server_that_never_answers_fails_at_the_flow_s_time(caller: Caller, serve: Serve) -> None:
    async def silence(writer: asyncio.StreamWriter) -> None:
        await writer.wait_closed()

    document = chain(node("in", "api_input"), node("ask", "http_request", {"url": await serve(silence)}))
    deployment = await caller.deploy({**document, "settings": {"timeout_seconds": 0.3}})
    run = await caller.post(f"/v1/deployments/{deployment['id']}/runs")
    assert (run["status"], run["error"]["code"]) == ("failed", "run_timeout")


async def test_a_model_that_cannot_be_reached_fails_the_run_and_says_so(caller: Caller) -> None:
    prompt = {"model": "openai/gpt-none", "prompt": "Hello"}
    run, seconds = await run_with(caller, node("llm", "prompt", prompt))
    assert (run["status"], run["output"]) == ("failed", None)
    assert (run["error"]["node"], run["error"]["code"]) == ("llm", "node_failed")
    assert "connect" in run["error"]["message"]
    assert "not-a-key" not in str(run)
    assert seconds < 10


async def test_a_model_provider_that_nobody_configured_is_named(caller: Caller) -> None:
    run, _ = await run_with(caller, node("llm", "prompt", {"model": "nobody/x", "prompt": "Hello"}))
    assert (run["status"], run["error"]["code"]) == ("failed", "node_failed")
    assert "nobody" in run["error"]["message"]


REFUSED = {
    "http://169.254.169.254/latest/meta-data/": "egress_refused",
    "http://10.0.0.1/": "egress_refused",
    "http://192.168.0.1:8080/": "egress_refused",
    "http://0.0.0.0/": "egress_refused",
    "http://[fd00::1]/": "egress_refused",
    "http://[::ffff:10.0.0.1]/": "egress_refused",
    "http://167772161/": "egress_refused",
    "file:///etc/passwd": "node_failed",
    "gopher://10.0.0.1/": "node_failed",
}


@pytest.mark.parametrize("url", list(REFUSED))
@pytest.mark.parametrize("kind", ["http_request", "web_scraper"])
async def test_an_address_that_must_not_be_called_is_not(caller: Caller, kind: str, url: str) -> None:
    asked = node("in", "api_input", {"fields": [{"name": "url", "type": "string", "required": True}]})
    calls = node("out", kind, {"url": "{{ in.url }}"}, retry={"max_attempts": 3})
    deployment = await caller.deploy(chain(asked, calls))
    async with asyncio.timeout(5):
        run = await caller.post(f"/v1/deployments/{deployment['id']}/runs", {"input": {"url": url}})
    assert (run["status"], run["error"]["node"], run["error"]["code"]) == ("failed", "out", REFUSED[url])
