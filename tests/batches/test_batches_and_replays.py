"""Batches start as slots come free; a replay runs again what comes after a node, and nothing before it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.target import Target, target
from tests.stack import Stack

GREETER = json.loads((Path(__file__).parents[2] / "examples" / "flows" / "greeter.json").read_text())


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("batches"), gateways=2, executors=2) as running:
        yield running


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator["User"]:
    async with aiohttp.ClientSession(headers=stack.headers) as session:
        yield User(stack, session)


@pytest.fixture
async def web() -> AsyncIterator[Target]:
    async with target() as found:
        yield found


class User:
    """Calls the API with one key."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.session = session

    async def ask(self, method: str, path: str, body: Any = None, gateway: int = 0, **headers: str) -> tuple[int, Any]:
        url = self.stack.urls[gateway] + path
        async with self.session.request(method, url, json=body, headers=headers) as answer:
            return answer.status, await answer.json() if answer.content_type.endswith("json") else None

    async def deploy(self, document: dict) -> None:
        for path, body in (("/v1/flows", document), (f"/v1/flows/{document['slug']}/deployments", {})):
            status, answer = await self.ask("POST", path, body)
            assert status in (201, 409), answer

    async def finished(self, run_id: str) -> dict:
        async with asyncio.timeout(20):
            while True:
                _, run = await self.ask("GET", f"/v1/runs/{run_id}")
                if run["finished_at"]:
                    return run
                await asyncio.sleep(0.02)

    async def batch(self, batch_id: str) -> dict:
        async with asyncio.timeout(40):
            while True:
                _, found = await self.ask("GET", f"/v1/batches/{batch_id}", gateway=1)
                if found["status"] == "completed":
                    return found
                await asyncio.sleep(0.05)


async def limited(admin: User, session: aiohttp.ClientSession, **limits: int) -> User:
    _, made = await admin.ask("POST", "/v1/workspaces", {"name": "l", "plan": "enterprise", "limits": limits})
    session.headers["X-API-Key"] = made["admin_key"]
    return User(admin.stack, session)


async def test_every_run_of_a_batch_ends_once_with_its_own_input(admin: User) -> None:
    await admin.deploy(GREETER)
    inputs = [{"name": f"n{n}"} for n in range(300)]
    status, made = await admin.ask("POST", "/v1/deployments/greeter/batch", {"inputs": inputs})
    assert status == 202
    assert len({run["id"] for run in made["runs"]}) == 300
    found = await admin.batch(made["batch_id"])
    assert found["counts"] == {"completed": 300}
    for number in (0, 7, 299):
        assert (await admin.finished(made["runs"][number]["id"]))["output"] == f"Hello, n{number}!"


async def test_a_batch_larger_than_the_slots_runs_as_they_come_free(admin: User, web: Target) -> None:
    async with aiohttp.ClientSession() as session:
        user = await limited(admin, session, concurrent_runs=3)
        web.hold("/slow")
        await user.deploy(slow(web.url("/slow")))
        status, made = await user.ask("POST", "/v1/deployments/slow/batch", {"inputs": [{}] * 12})
        assert status == 202
        first = made["runs"][0]["id"]
        assert (await user.ask("GET", f"/v1/runs/{first}", gateway=1))[0] == 200
        await web.received("/slow", 3)
        await asyncio.sleep(0.6)  # feeders look again in this time: a fourth would have come
        assert len(web.to("/slow")) == 3
        web.release("/slow")
        found = await user.batch(made["batch_id"])
        assert found["counts"] == {"completed": 12}
        assert set(web.calls("/slow").values()) == {1}


async def test_a_held_run_streams_and_can_be_cancelled(admin: User, web: Target) -> None:
    async with aiohttp.ClientSession() as session:
        user = await limited(admin, session, concurrent_runs=1)
        web.hold("/slow")
        await user.deploy(slow(web.url("/slow")))
        _, made = await user.ask("POST", "/v1/deployments/slow/batch", {"inputs": [{}] * 3})
        (running,) = await web.received("/slow", 1)
        held = next(run["id"] for run in made["runs"] if run["id"] != running.run_id)
        _, events = await user.ask("GET", f"/v1/runs/{held}/events")
        assert [event["type"] for event in events["data"]] == ["run.requested"]
        assert (await user.ask("POST", f"/v1/runs/{held}/cancel"))[0] == 202
        web.release("/slow")
        found = await user.batch(made["batch_id"])
        assert found["counts"] == {"completed": 2, "cancelled": 1}
        assert held not in {each.run_id for each in web.to("/slow")}
        _, events = await user.ask("GET", f"/v1/runs/{running.run_id}/events")
        assert [event["seq"] for event in events["data"]] == list(range(1, len(events["data"]) + 1))


async def test_a_batch_that_the_month_cannot_hold_is_refused_whole(admin: User) -> None:
    async with aiohttp.ClientSession() as session:
        user = await limited(admin, session, monthly_requests=5)
        await user.deploy(GREETER)
        status, problem = await user.ask("POST", "/v1/deployments/greeter/batch", {"inputs": [{"name": "a"}] * 6})
        assert (status, problem["code"]) == (429, "quota_exceeded")
        assert (await user.ask("GET", "/v1/runs"))[1]["data"] == []
        status, made = await user.ask("POST", "/v1/deployments/greeter/batch", {"inputs": [{"name": "a"}] * 5})
        assert status == 202
        assert (await user.batch(made["batch_id"]))["counts"] == {"completed": 5}


async def test_every_input_at_fault_is_named_and_nothing_starts(admin: User) -> None:
    await admin.deploy(GREETER)
    inputs: list[Any] = [{"name": "a"}, {}, {"name": 5}, "text"]
    status, problem = await admin.ask("POST", "/v1/deployments/greeter/batch", {"inputs": inputs})
    assert status == 400
    assert [error["pointer"] for error in problem["errors"]] == ["/inputs/1/name", "/inputs/2/name", "/inputs/3"]


async def test_a_batch_with_a_key_is_one_batch(admin: User) -> None:
    await admin.deploy(GREETER)
    body = {"inputs": [{"name": "a"}, {"name": "b"}]}
    answers = [
        await admin.ask("POST", "/v1/deployments/greeter/batch", body, gateway=n % 2, **{"Idempotency-Key": "b1"})
        for n in range(3)
    ]
    assert len({answer["batch_id"] for _, answer in answers}) == 1
    other = {"inputs": [{"name": "a"}, {"name": "c"}]}
    status, problem = await admin.ask("POST", "/v1/deployments/greeter/batch", other, **{"Idempotency-Key": "b1"})
    assert (status, problem["code"]) == (422, "idempotency_conflict")


async def test_a_batch_that_is_asked_for_twice_at_once_is_charged_once(admin: User) -> None:
    async with aiohttp.ClientSession() as session:
        user = await limited(admin, session, monthly_requests=5)
        await user.deploy(GREETER)
        _, known = await user.ask("GET", "/v1/deployments/greeter")
        path, body = f"/v1/deployments/{known['id']}/batch", {"inputs": [{"name": "a"}] * 2}
        answers = await asyncio.gather(*[user.ask("POST", path, body, **{"Idempotency-Key": "b2"}) for _ in range(2)])
        assert [status for status, _ in answers] == [202, 202]
        assert (await user.ask("POST", path, {"inputs": [{"name": "a"}] * 4}))[0] == 429
        assert (await user.ask("POST", path, {"inputs": [{"name": "a"}] * 3}))[0] == 202


async def test_a_replay_calls_nothing_before_its_node_again(admin: User, web: Target) -> None:
    await admin.deploy(chain(web))
    status, run = await admin.ask("POST", "/v1/deployments/chain/runs", {"input": {"word": "x"}})
    assert (status, run["status"]) == (200, "completed")
    status, made = await admin.ask("POST", f"/v1/runs/{run['id']}/replay", {"from_node": "b"}, gateway=1)
    assert status == 202
    again = await admin.finished(made["id"])
    assert (again["status"], again["output"], again["input"]) == ("completed", run["output"], run["input"])
    assert (len(web.to("/a")), len(web.to("/b"))) == (1, 2)
    _, events = await admin.ask("GET", f"/v1/runs/{again['id']}/events")
    finished = {event["node"] for event in events["data"] if event["type"] == "node.finished"}
    assert finished == {"in", "a", "b", "out"}


async def test_a_failed_run_is_replayed_from_where_it_failed(admin: User, web: Target) -> None:
    document = chain(web) | {"slug": "chain-fails"}
    document["nodes"][2]["config"]["url"] = "http://127.0.0.1:1/"
    await admin.deploy(document)
    _, run = await admin.ask("POST", "/v1/deployments/chain-fails/runs", {"input": {"word": "x"}})
    assert (run["status"], run["error"]["node"]) == ("failed", "b")
    document["nodes"][2]["config"]["url"] = web.url("/b")
    await admin.ask("PUT", "/v1/flows/chain-fails", document)
    _, made = await admin.ask("POST", f"/v1/runs/{run['id']}/replay", {"version": 2})
    assert (await admin.finished(made["id"]))["status"] == "completed"
    assert (len(web.to("/a")), len(web.to("/b"))) == (1, 1)


async def test_a_replay_from_an_unknown_node_or_version_is_refused(admin: User, web: Target) -> None:
    await admin.deploy(GREETER)
    _, run = await admin.ask("POST", "/v1/deployments/greeter/runs", {"input": {"name": "a"}})
    for body, pointer in (({"from_node": "nope"}, "/from_node"), ({"version": 9}, "/version")):
        status, problem = await admin.ask("POST", f"/v1/runs/{run['id']}/replay", body)
        assert (status, problem["errors"][0]["pointer"]) == (400, pointer)
    assert (await admin.ask("POST", "/v1/runs/run_nope/replay", {}))[0] == 404


def slow(url: str) -> dict:
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


def chain(web: Target) -> dict:
    return {
        "name": "Chain",
        "slug": "chain",
        "nodes": [
            {"id": "in", "type": "api_input", "config": {"fields": [{"name": "word", "type": "string"}]}},
            {
                "id": "a",
                "type": "http_request",
                "config": {"method": "POST", "url": web.url("/a"), "body": "{{ in.word }}"},
            },
            {
                "id": "b",
                "type": "http_request",
                "config": {"method": "POST", "url": web.url("/b"), "body": "{{ a.body }}"},
            },
            {"id": "out", "type": "api_output", "config": {"value": "{{ b.body.path }}"}},
        ],
        "edges": [
            {"source": "in", "target": "a"},
            {"source": "a", "target": "b"},
            {"source": "b", "target": "out"},
        ],
    }
