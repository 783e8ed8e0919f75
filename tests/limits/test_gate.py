"""Limits over two gateways, as callers meet them: exact under load, and nothing leaks."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from tests.e2e.target import target
from tests.stack import Stack

GREETER = json.loads((Path(__file__).parents[2] / "examples" / "flows" / "greeter.json").read_text())


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("limits"), gateways=2, executors=2) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as found:
        yield found


async def workspace(session: aiohttp.ClientSession, stack: Stack, document: dict, **limits: int) -> dict[str, str]:
    """The headers of the admin of a new workspace with these limits and the flow deployed."""
    body = {"name": "limited", "plan": "enterprise", "limits": limits}
    async with session.post(f"{stack.url}/v1/workspaces", json=body, headers=stack.headers) as answer:
        headers = {"X-API-Key": (await answer.json())["admin_key"]}
    for path, sent in (("/v1/flows", document), (f"/v1/flows/{document['slug']}/deployments", {})):
        async with session.post(stack.url + path, json=sent, headers=headers) as answer:
            assert answer.status == 201, await answer.text()
    await known_everywhere(session, stack, headers, document["slug"])
    return headers


async def known_everywhere(
    session: aiohttp.ClientSession, stack: Stack, headers: dict[str, str], slug: str, seconds: float = 5.0
) -> None:
    """Wait until the other gateway has the deployment too, which takes it milliseconds."""
    began = asyncio.get_running_loop().time()
    while True:
        async with session.get(f"{stack.urls[1]}/v1/deployments/{slug}", headers=headers) as answer:
            if answer.status == 200:
                return
        assert asyncio.get_running_loop().time() - began < seconds


def slow_flow(url: str) -> dict:
    """A flow whose run lasts until the server at `url` answers."""
    return {
        "name": "Slow",
        "slug": "slow",
        "nodes": [
            {"id": "in", "type": "api_input", "config": {"fields": []}},
            {"id": "call", "type": "http_request", "config": {"method": "GET", "url": url}},
            {"id": "out", "type": "api_output", "config": {"value": "{{ call.status }}"}},
        ],
        "edges": [{"source": "in", "target": "call"}, {"source": "call", "target": "out"}],
    }


async def start(
    session: aiohttp.ClientSession, stack: Stack, headers: dict[str, str], number: int, slug: str, body: dict
) -> tuple[int, dict, CIMultiDictProxy[str]]:
    url = f"{stack.urls[number % 2]}/v1/deployments/{slug}/runs"
    async with session.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.json(), answer.headers


async def test_of_many_at_once_on_two_gateways_as_many_run_as_there_are_slots(
    session: aiohttp.ClientSession, stack: Stack
) -> None:
    async with target() as web:
        web.hold("/slow")
        headers = await workspace(session, stack, slow_flow(web.url("/slow")), concurrent_runs=4)
        body = {"input": {}, "mode": "async"}
        answers = await asyncio.gather(*[start(session, stack, headers, n, "slow", body) for n in range(40)])
        statuses = Counter(status for status, _, _ in answers)
        assert statuses == {202: 4, 429: 36}
        refused = next((body, sent) for status, body, sent in answers if status == 429)
        assert refused[0]["code"] == "concurrency_limit"
        assert int(refused[1]["Retry-After"]) >= 1
        assert '"concurrency";q=4' in refused[1]["RateLimit-Policy"]
        web.release("/slow")
        accepted = [run["id"] for status, run, _ in answers if status == 202]
        await ended(session, stack, headers, accepted)
        again = await asyncio.gather(*[start(session, stack, headers, n, "slow", body) for n in range(4)])
        assert [status for status, _, _ in again] == [202] * 4


async def test_the_months_quota_is_exact_and_survives_a_restart(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    with Stack(tmp_path, gateways=2) as stack:
        headers = await workspace(session, stack, GREETER, monthly_requests=10)
        body = {"input": {"name": "Ada"}}
        answers = await asyncio.gather(*[start(session, stack, headers, n, "greeter", body) for n in range(25)])
        assert Counter(status for status, _, _ in answers) == {200: 10, 429: 15}
        stack.crash()
        stack.start()
        async with aiohttp.ClientSession() as fresh:
            status, problem, sent = await start(fresh, stack, headers, 0, "greeter", body)
            assert (status, problem["code"]) == (429, "quota_exceeded")
            assert int(sent["Retry-After"]) > 1
            async with fresh.get(f"{stack.url}/v1/runs?limit=100", headers=headers) as answer:
                assert len((await answer.json())["data"]) == 10


async def test_one_key_over_many_calls_is_one_request(session: aiohttp.ClientSession, stack: Stack) -> None:
    headers = await workspace(session, stack, GREETER, monthly_requests=3, concurrent_runs=2)
    once = {**headers, "Idempotency-Key": "the-same"}
    body = {"input": {"name": "Ada"}}
    answers = await asyncio.gather(*[start(session, stack, once, n, "greeter", body) for n in range(2)])
    for number in range(8):
        answers.append(await start(session, stack, once, number, "greeter", body))
    assert {status for status, _, _ in answers} == {200}
    assert len({run["id"] for _, run, _ in answers}) == 1
    fresh = [await start(session, stack, headers, n, "greeter", body) for n in range(3)]
    assert [status for status, _, _ in fresh] == [200, 200, 429]


async def test_every_answer_of_a_limited_workspace_says_what_is_left(
    session: aiohttp.ClientSession, stack: Stack
) -> None:
    """Also a stream's, and that of a public call."""
    headers = await workspace(session, stack, GREETER, monthly_requests=50)
    path = f"{stack.url}/v1/deployments/greeter"
    async with session.patch(path, json={"public": True}, headers=headers) as answer:
        deployment = (await answer.json())["id"]
    body = {"input": {"name": "Ada"}}
    public = f"{stack.url}/v1/deployments/{deployment}/runs"
    for url, sent, key in (
        (public, body, headers),
        (public, body, {}),
        (public, {**body, "mode": "stream"}, headers),
        (public, {**body, "mode": "stream"}, {}),
    ):
        async with session.post(url, json=sent, headers=key) as answer:
            assert answer.status == 200
            assert '"month";r=' in answer.headers["RateLimit"]
            assert '"month";q=50' in answer.headers["RateLimit-Policy"]
            await answer.read()
    async with session.get(f"{stack.url}/v1/runs", headers=headers) as answer:
        assert '"month";r=46' in answer.headers["RateLimit"]
    async with session.get(f"{stack.url}/v1/runs", headers=stack.headers) as answer:
        assert "RateLimit" not in answer.headers


async def test_a_refused_input_costs_nothing(session: aiohttp.ClientSession, stack: Stack) -> None:
    headers = await workspace(session, stack, GREETER, monthly_requests=1)
    for _ in range(3):
        status, _, sent = await start(session, stack, headers, 0, "greeter", {"input": {}})
        assert status == 400
    assert '"month";r=1' in sent["RateLimit"]
    status, _, _ = await start(session, stack, headers, 0, "greeter", {"input": {"name": "Ada"}})
    assert status == 200


async def test_a_raised_limit_is_in_force_within_a_second(session: aiohttp.ClientSession, stack: Stack) -> None:
    body = {"name": "grows", "plan": "enterprise", "limits": {"monthly_requests": 1}}
    async with session.post(f"{stack.url}/v1/workspaces", json=body, headers=stack.headers) as answer:
        made = await answer.json()
    headers = {"X-API-Key": made["admin_key"]}
    for path, sent in (("/v1/flows", GREETER), ("/v1/flows/greeter/deployments", {})):
        async with session.post(stack.url + path, json=sent, headers=headers) as answer:
            assert answer.status == 201
    call = {"input": {"name": "Ada"}}
    assert [(await start(session, stack, headers, n, "greeter", call))[0] for n in range(2)] == [200, 429]
    patch = {"limits": {"monthly_requests": 2}}
    async with session.patch(f"{stack.url}/v1/workspaces/{made['id']}", json=patch, headers=stack.headers) as answer:
        assert answer.status == 200
    began = asyncio.get_running_loop().time()
    while (await start(session, stack, headers, 1, "greeter", call))[0] != 200:
        assert asyncio.get_running_loop().time() - began < 1.0


async def ended(session: aiohttp.ClientSession, stack: Stack, headers: dict[str, str], runs: list[str]) -> None:
    """Wait until each run has its end, by its stream, which ends with it."""
    accept = {**headers, "Accept": "text/event-stream"}
    for run_id in runs:
        async with session.get(f"{stack.url}/v1/runs/{run_id}/events", headers=accept) as answer:
            async with asyncio.timeout(20):
                await answer.read()
