"""The runs table: whole, newest first, searchable, and never behind what a caller was told, on either gateway."""

import asyncio
from datetime import datetime
from typing import Any

import pytest

from tests.api.client import Caller
from tests.flows.documents import chain, greeter, node

RUNS = 60


async def start(caller: Caller, deployment: dict[str, Any], **wish: Any) -> dict[str, Any]:
    body = {"input": {"name": "Ada"}, "mode": "async", **wish}
    run: dict[str, Any] = await caller.post(f"/v1/deployments/{deployment['id']}/runs", body, expect=202)
    return run


async def ended(caller: Caller, run: dict[str, Any]) -> dict[str, Any]:
    """The run, once it has ended."""
    async with asyncio.timeout(10):
        while (now := await caller.get(f"/v1/runs/{run['id']}"))["status"] in ("queued", "running"):
            pass
    found: dict[str, Any] = now
    return found


@pytest.fixture
async def deployment(caller: Caller) -> dict[str, Any]:
    made = await caller.deploy()
    await caller.settle()
    return made


async def test_60_runs_over_two_gateways_are_each_listed_once_newest_first(
    caller: Caller, deployment: dict[str, Any]
) -> None:
    started = await asyncio.gather(*[start(caller.at(number % 2), deployment) for number in range(RUNS)])
    expected = sorted(started, key=lambda run: (run["created_at"], run["id"]), reverse=True)
    for gateway, limit in ((0, 7), (1, 20), (1, 100)):
        listed = await caller.at(gateway).pages("/v1/runs", limit)
        assert [run["id"] for run in listed] == [run["id"] for run in expected]


async def test_a_run_is_found_on_both_gateways_at_once_after_its_202(
    caller: Caller, deployment: dict[str, Any]
) -> None:
    for number in range(20):
        here, there = caller.at(number % 2), caller.at(1 - number % 2)
        answer = await here.call(
            "POST", f"/v1/deployments/{deployment['id']}/runs", {"input": {"name": "A"}, "mode": "async"}
        )
        run = answer.json
        assert (answer.status, answer.headers["Location"]) == (202, f"/v1/runs/{run['id']}")
        assert (await there.get("/v1/runs?limit=1"))["data"][0]["id"] == run["id"]
        assert (await there.get(answer.headers["Location"]))["id"] == run["id"]
        assert (await here.get("/v1/runs?limit=1"))["data"][0]["id"] == run["id"]


async def test_an_ended_run_is_listed_as_ended_once_its_caller_knows(
    caller: Caller, deployment: dict[str, Any]
) -> None:
    for number in range(10):
        run = await caller.at(number % 2).post(f"/v1/deployments/{deployment['id']}/runs", {"input": {"name": "A"}})
        (listed,) = (await caller.at(1 - number % 2).get("/v1/runs?status=completed&limit=1"))["data"]
        assert listed == run


async def test_pages_stay_where_they_are_while_new_runs_arrive(caller: Caller, deployment: dict[str, Any]) -> None:
    before = [(await start(caller, deployment))["id"] for _ in range(12)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = await caller.at(len(seen) % 2).get(f"/v1/runs?limit=5{cursor}")
        seen += [run["id"] for run in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
        await asyncio.gather(*[start(caller.at(number), deployment) for number in (0, 1)])
    assert seen == before[::-1]


async def test_each_filter_finds_its_runs_and_all_together_narrow_them(caller: Caller) -> None:
    one = await caller.deploy()
    two = await caller.post("/v1/flows/greeter/deployments", {"type": "test"}, expect=201)
    failing = await caller.deploy(
        {**chain(node("in", "api_input"), node("t", "transform", {"expression": "abs('x')"}))}
    )
    runs = {
        "a": await start(caller, one, session_id="s-1"),
        "b": await start(caller, two, session_id="s-1"),
        "c": await start(caller, two),
        "d": await start(caller, failing),
    }
    for run in runs.values():
        await ended(caller, run)

    async def found(query: str) -> str:
        listed = [await caller.at(gateway).pages(f"/v1/runs?{query}", 2) for gateway in (0, 1)]
        assert listed[0] == listed[1]
        names = {run["id"]: name for name, run in runs.items()}
        return "".join(names[run["id"]] for run in listed[0])

    assert await found("") == "dcba"
    assert await found(f"deployment_id={two['id']}") == "cb"
    assert await found(f"flow_id={one['flow_id']}") == "cba"
    assert await found("session_id=s-1") == "ba"
    assert await found("status=completed") == "cba"
    assert await found("status=failed") == "d"
    assert await found("status=cancelled") == ""
    assert await found(f"session_id=s-1&deployment_id={two['id']}&status=completed") == "b"
    at = {name: run["created_at"] for name, run in runs.items()}
    assert await found(f"since={at['b']}") == "dcb"
    assert await found(f"until={at['b']}") == "a"
    assert await found(f"since={at['b']}&until={at['d']}") == "cb"
    assert await found(f"since={at['d']}&until={at['b']}") == ""
    offset = datetime.fromisoformat(at["c"]).astimezone().isoformat().replace("+", "%2B")
    assert await found(f"since={offset}") == "dc"


async def test_every_status_is_listed_as_it_is(caller: Caller) -> None:
    silent = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/"
    waiting = await caller.deploy(chain(node("in", "api_input"), node("ask", "http_request", {"url": url})))
    await caller.settle()
    run = await start(caller, waiting, input={})
    async with asyncio.timeout(5):
        while (await caller.get(f"/v1/runs/{run['id']}"))["status"] != "running":
            pass
    assert [each["id"] for each in (await caller.at(1).get("/v1/runs?status=running"))["data"]] == [run["id"]]
    assert (await caller.at(1).post(f"/v1/runs/{run['id']}/cancel", expect=202))["status"] == "cancelled"
    for gateway in (0, 1):
        assert (await caller.at(gateway).get("/v1/runs?status=running"))["data"] == []
        (cancelled,) = (await caller.at(gateway).get("/v1/runs?status=cancelled"))["data"]
        assert (cancelled["id"], cancelled["output"], cancelled["error"]) == (run["id"], None, None)
    await caller.post(f"/v1/runs/{run['id']}/cancel", expect=409)
    silent.close()


async def test_a_run_of_a_deleted_flow_is_still_listed(caller: Caller, deployment: dict[str, Any]) -> None:
    run = await ended(caller, await start(caller, deployment))
    await caller.delete("/v1/flows/greeter")
    assert (await caller.at(1).get(f"/v1/runs?flow_id={deployment['flow_id']}"))["data"] == [run]
    await caller.post("/v1/flows", greeter(), expect=201)
