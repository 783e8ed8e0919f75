"""SIGTERM: a process finishes what it holds, or hands it over; nobody who waits is left without an answer."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.e2e.caller import Caller, assert_whole, calling, until
from tests.e2e.flows import chain, http, output
from tests.e2e.target import Target
from tests.e2e.wire import wire
from tests.stack import Stack

DRAIN_SECONDS = 1.0
LEASE_SECONDS = 30
"""Longer than any of these tests: what is handed over is not handed over by waiting for it."""


@pytest.fixture(scope="module")
def draining(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two gateways and two executors that drain for a second."""
    env = {"HEADGATE_DRAIN_SECONDS": str(DRAIN_SECONDS), "HEADGATE_LEASE_SECONDS": str(LEASE_SECONDS)}
    with Stack(tmp_path_factory.mktemp("draining"), gateways=2, executors=2, env=env) as running:
        yield running


@pytest.fixture
async def caller(draining: Stack) -> AsyncIterator[Caller]:
    async with calling(draining) as found:
        yield found


@pytest.fixture
async def deployment(caller: Caller, web: Target) -> str:
    """Two calls in a row, of which the first hangs."""
    web.hold("/a")
    return await caller.deploy(chain(http("a", web.url("/a")), http("b", web.url("/b")), output("{{ b.body.path }}")))


async def _holder(caller: Caller, run_id: str) -> int:
    name: str = (await caller.saw(run_id, "run.started"))["data"]["executor"]
    return int(name.split("-")[1])


async def test_an_executor_hands_over_what_it_cannot_finish(caller: Caller, web: Target, deployment: str) -> None:
    waiting = asyncio.create_task(caller.start(deployment))
    (request,) = await web.received("/a")
    index = await _holder(caller, request.run_id)
    began = asyncio.get_running_loop().time()
    pid = caller.stack.kill("executor", index, signal.SIGTERM)
    _, second = await web.received("/a", 2)
    assert second.began - began < DRAIN_SECONDS + 3
    web.release("/a")
    answer = await waiting
    assert (answer.status, answer.body["output"]) == (200, "/b")
    assert web.calls("/a") == {f"{answer.run_id}:a": 2}
    assert web.calls("/b") == {f"{answer.run_id}:b": 1}
    assert_whole(await caller.events(answer.run_id), ["in", "a", "b", "out"])
    await asyncio.to_thread(caller.stack.restarted, "executor", index, pid)


async def test_an_executor_finishes_what_it_can(caller: Caller, web: Target, deployment: str) -> None:
    waiting = asyncio.create_task(caller.start(deployment))
    (request,) = await web.received("/a")
    index = await _holder(caller, request.run_id)
    url = caller.stack.process("executor", index)["url"]
    pid = caller.stack.kill("executor", index, signal.SIGTERM)
    await until(lambda: _drains(caller, url))
    web.release("/a")
    answer = await waiting
    assert (answer.status, answer.body["output"]) == (200, "/b")
    assert [len(web.to(path)) for path in ("/a", "/b")] == [1, 1]
    executors = {e["data"]["executor"] for e in await caller.events(answer.run_id) if e["type"] == "run.started"}
    assert len(executors) == 1
    await asyncio.to_thread(caller.stack.restarted, "executor", index, pid)


async def test_a_gateway_answers_a_call_whose_run_ends_while_it_drains(
    caller: Caller, web: Target, deployment: str
) -> None:
    waiting = asyncio.create_task(caller.start(deployment, gateway=1))
    await web.received("/a")
    pid = caller.stack.kill("gateway", 1, signal.SIGTERM)
    await until(lambda: _drains(caller, caller.stack.urls[1]))
    web.release("/a")
    answer = await waiting
    assert (answer.status, answer.body["output"]) == (200, "/b")
    await asyncio.to_thread(caller.stack.restarted, "gateway", 1, pid)


@pytest.mark.parametrize("key", [None, "the-key"])
async def test_a_gateway_answers_a_call_whose_run_goes_on_with_where_to_find_it(
    caller: Caller, web: Target, deployment: str, key: str | None
) -> None:
    calls = [asyncio.create_task(caller.start(deployment, gateway=1, key=key)) for _ in range(2 if key else 1)]
    await web.received("/a")
    pid = caller.stack.kill("gateway", 1, signal.SIGTERM)
    answers = await asyncio.gather(*calls)
    for answer in answers:
        assert (answer.status, answer.body["status"]) == (202, "running")
        assert answer.headers["Location"] == f"/v1/runs/{answer.run_id}"
    assert len({answer.run_id for answer in answers}) == 1
    web.release("/a")
    assert (await caller.ended(answers[0].run_id))["output"] == "/b"
    assert len(web.to("/a")) == 1
    await asyncio.to_thread(caller.stack.restarted, "gateway", 1, pid)


@pytest.mark.parametrize("service", ["gateway", "notifier"])
async def test_a_stream_is_ended_at_once_and_goes_on_elsewhere(
    caller: Caller, web: Target, deployment: str, service: str
) -> None:
    index = 1 if service == "gateway" else 0
    process = caller.stack.process(service, index)
    run_id = await caller.submit(deployment)
    await web.received("/a")
    path = f"/v1/runs/{run_id}/events"
    async with wire(process["url"] + path, caller.stack.headers) as stream:
        await stream.read_until("node.started")
        began = asyncio.get_running_loop().time()
        caller.stack.kill(service, index, signal.SIGTERM)
        await stream.read_bytes(1 << 20)
        assert asyncio.get_running_loop().time() - began < 1
    web.release("/a")
    async with wire(caller.stack.url + path, caller.stack.headers, after=str(stream.events[-1]["seq"])) as rest:
        await rest.read_all()
    assert [*stream.events, *rest.events] == await caller.events(run_id)
    await asyncio.to_thread(caller.stack.restarted, service, index, process["pid"])


async def _drains(caller: Caller, url: str) -> bool:
    """Whether a process has been told to stop: it says so, or takes no connections any more."""
    try:
        async with caller.session.get(f"{url}/readyz") as response:
            found: Any = await response.json()
    except aiohttp.ClientError:
        return True
    return "draining" in found["missing"]
