"""Runs that are asked for at the same moment: stored together, and each told as if it had come alone."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from libs.events.broker import Broker
from libs.events.subjects import group_of
from tests.api.client import Answer, Caller
from tests.api.conftest import new_workspace
from tests.e2e.broker import messages
from tests.flows.documents import chain, greeter, node
from tests.observability.scrape import families, value
from tests.stack import Stack

MANY = 48
TYPES = ["run.requested", "run.started", *["node.started", "node.finished"] * 3, "run.completed"]
TOO_LARGE = 17 * 1024


@pytest.fixture
async def deployment(caller: Caller) -> dict[str, Any]:
    made = await caller.deploy()
    await caller.settle()
    return made


async def ask(caller: Caller, deployment: dict[str, Any], name: str = "Ada", **more: Any) -> Answer:
    """Ask for a run; `headers` are not part of the wish."""
    headers = more.pop("headers", None)
    body = {"input": {"name": name}, **more}
    return await caller.call("POST", f"/v1/deployments/{deployment['id']}/runs", body, headers=headers)


async def ask_some(caller: Caller, deployment: dict[str, Any], count: int, **more: Any) -> list[Answer]:
    """The same so often at once, each with a name of its own."""
    return await asyncio.gather(*[ask(caller, deployment, f"n{number}", **more) for number in range(count)])


async def ask_many(caller: Caller, deployment: dict[str, Any], **more: Any) -> list[Answer]:
    """The same again and again until at least three have come together; all answers, the names counted on."""
    answers: list[Answer] = []
    async with asyncio.timeout(20):
        while not answers or max(Counter(map(group_of, run_ids(answers))).values()) < 3:
            names = range(len(answers), len(answers) + MANY)
            answers += await asyncio.gather(*[ask(caller, deployment, f"n{number}", **more) for number in names])
    return answers


def run_ids(answers: Sequence[Answer]) -> list[str]:
    return [answer.headers["Headgate-Run-Id"] for answer in answers]


def groups(ids: Sequence[str]) -> set[str | None]:
    return {group_of(run_id) for run_id in ids}


async def ended(caller: Caller, run_id: str) -> dict[str, Any]:
    """The run, once it has ended."""
    async with asyncio.timeout(10):
        while (now := await caller.get(f"/v1/runs/{run_id}"))["status"] in ("queued", "running"):
            pass
    found: dict[str, Any] = now
    return found


def streamed(answer: Answer) -> list[dict[str, Any]]:
    """The events of an event stream."""
    lines = answer.content.decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


async def test_many_callers_at_once_each_get_their_own_run_in_fewer_appends(
    caller: Caller, deployment: dict[str, Any], stack: Stack, broker: Broker
) -> None:
    before = families(stack.urls[0])
    answers = await ask_many(caller, deployment)
    after = families(stack.urls[0])

    assert {answer.status for answer in answers} == {200}
    assert [answer.json["output"] for answer in answers] == [f"Hello, n{number}!" for number in range(len(answers))]
    ids = run_ids(answers)
    assert [answer.json["id"] for answer in answers] == ids
    assert len(groups(ids)) < len(set(ids)) == len(answers)
    assert None not in groups(ids)
    for run_id in (ids[0], ids[-1]):
        assert await messages(broker, run_id) == {"requested": 1, "ended": 1}
    moved = {
        name: value(after, f"headgate_{name}_total") - value(before, f"headgate_{name}_total")
        for name in ("grouped_runs", "groups")
    }
    assert moved == {"grouped_runs": len(ids), "groups": len(groups(ids))}


async def test_one_caller_alone_is_served_the_same(caller: Caller, deployment: dict[str, Any], broker: Broker) -> None:
    answer = await ask(caller, deployment)
    assert (answer.status, answer.json["output"]) == (200, "Hello, Ada!")
    (run_id,) = run_ids([answer])
    assert await messages(broker, run_id) == {"requested": 1, "ended": 1}


async def test_each_run_is_shown_alone_in_every_view(caller: Caller, deployment: dict[str, Any]) -> None:
    answers = await ask_many(caller, deployment)
    for number, answer in list(enumerate(answers))[::5]:
        there = caller.at(number % 2)
        run_id = answer.json["id"]
        assert await there.get(f"/v1/runs/{run_id}") == answer.json
        events = (await there.get(f"/v1/runs/{run_id}/events"))["data"]
        assert [event["type"] for event in events] == TYPES
        assert [event["seq"] for event in events] == list(range(1, len(TYPES) + 1))
        assert {event["run_id"] for event in events} == {run_id}
        assert events[0]["data"]["input"] == {"name": f"n{number}"}
        accept = {"Accept": "text/event-stream"}
        whole = await there.call("GET", f"/v1/runs/{run_id}/events", headers=accept)
        assert streamed(whole) == events
        resumed = await there.call("GET", f"/v1/runs/{run_id}/events", headers={**accept, "Last-Event-ID": "4"})
        assert streamed(resumed) == events[4:]
        over = await there.call("GET", f"/v1/runs/{run_id}/events", headers={**accept, "Last-Event-ID": "9"})
        assert over.status == 204


async def test_all_are_in_the_runs_table_and_counted(caller: Caller, deployment: dict[str, Any]) -> None:
    answers = await ask_many(caller, deployment)
    for gateway in (0, 1):
        listed = await caller.at(gateway).pages("/v1/runs?status=completed", 20)
        assert {run["id"]: run for run in listed} == {answer.json["id"]: answer.json for answer in answers}
        (row,) = (await caller.at(gateway).get("/v1/usage?group_by=deployment"))["data"]
        assert (row["requests"], row["runs"], row["errors"]) == (len(answers), len(answers), 0)


async def test_the_audit_of_a_run_holds_nothing_of_the_others(caller: Caller, deployment: dict[str, Any]) -> None:
    ids = run_ids(await ask_many(caller, deployment))
    ((company, _),) = Counter(map(group_of, ids)).most_common(1)
    chosen = [run_id for run_id in ids if group_of(run_id) == company]
    for run_id in (chosen[0], chosen[1], chosen[-1]):
        query = f"/v1/audit/events?run_id={run_id}"
        whole = (await caller.get(query))["data"]
        assert [(entry["type"], entry["seq"]) for entry in whole] == list(zip(TYPES, range(1, 10), strict=True))
        assert {entry["run_id"] for entry in whole} == {run_id}
        assert {entry["address"] for entry in whole if "address" in entry} == {"127.0.0.1"}
        for name in ("after", "cursor"):
            assert await paged(caller, query, name) == whole
        lines = await caller.call("GET", f"{query}&format=ndjson")
        assert [json.loads(line) for line in lines.content.splitlines()] == whole
        for entry in whole:
            rest = (await caller.at(1).get(f"{query}&after={entry['position']}"))["data"]
            assert rest == whole[entry["seq"] :]


async def test_the_audit_of_the_workspace_tells_every_run_once(caller: Caller, deployment: dict[str, Any]) -> None:
    ids = run_ids(await ask_many(caller, deployment))
    lines = await caller.call("GET", "/v1/audit/events?type=run&format=ndjson")
    whole = [json.loads(line) for line in lines.content.splitlines()]
    told = sorted((entry["run_id"], entry["type"]) for entry in whole)
    types = ("run.completed", "run.requested", "run.started")
    assert told == sorted((run_id, kind) for run_id in ids for kind in types)
    assert await paged(caller, "/v1/audit/events?type=run.requested", "after") == [
        entry for entry in whole if entry["type"] == "run.requested"
    ]


async def paged(caller: Caller, query: str, name: str) -> list[dict[str, Any]]:
    """All that is wanted, an entry a page, each page of the other gateway."""
    found: list[dict[str, Any]] = []
    at, gateway = "", 0
    while True:
        page = await caller.at(gateway).get(f"{query}&limit=1{at}")
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        at, gateway = f"&{name}={page['next_cursor']}", 1 - gateway


async def test_an_ended_run_is_not_cancelled_and_its_group_not_disturbed(
    caller: Caller, deployment: dict[str, Any], broker: Broker
) -> None:
    run_id = run_ids(await ask_some(caller, deployment, 4))[0]
    refused = await caller.call("POST", f"/v1/runs/{run_id}/cancel")
    assert (refused.status, refused.json["code"]) == (409, "conflict")
    assert await messages(broker, run_id) == {"requested": 1, "ended": 1}


async def test_another_workspace_finds_nothing_of_it(
    caller: Caller, stranger: Caller, deployment: dict[str, Any]
) -> None:
    run_id = run_ids(await ask_some(caller, deployment, 4))[1]
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/replay")):
        answer = await stranger.call(method, f"/v1/runs/{run_id}{path}", {} if path == "/replay" else None)
        assert (answer.status, answer.json["code"]) == (404, "not_found"), path
    assert (await stranger.get(f"/v1/audit/events?run_id={run_id}"))["data"] == []


async def test_a_group_is_no_run(caller: Caller, deployment: dict[str, Any]) -> None:
    """Its id follows from those of its runs, and is nothing to ask for."""
    run_id = run_ids(await ask_some(caller, deployment, 4))[0]
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("POST", "/replay")):
        answer = await caller.call(method, f"/v1/runs/{group_of(run_id)}{path}", {} if path == "/replay" else None)
        assert (answer.status, answer.json["code"]) == (404, "not_found"), path
    assert (await caller.get(f"/v1/audit/events?run_id={group_of(run_id)}"))["data"] == []


async def test_a_member_that_was_never_asked_for_is_no_run(caller: Caller, deployment: dict[str, Any]) -> None:
    run_id = run_ids(await ask_some(caller, deployment, 4))[0]
    for strange in (f"{run_id[:-2]}zz", f"run_{'0' * 28}", f"run_{'_' * 28}"):
        for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
            assert (await caller.call(method, f"/v1/runs/{strange}{path}")).status == 404
        assert (await caller.get(f"/v1/audit/events?run_id={strange}"))["data"] == []


async def test_receipts_are_grouped_too(caller: Caller, deployment: dict[str, Any]) -> None:
    answers = await ask_many(caller, deployment, mode="async")
    assert {answer.status for answer in answers} == {202}
    ids = run_ids(answers)
    assert None not in groups(ids)
    assert len(groups(ids)) < len(set(ids)) == len(answers)
    outputs = [(await ended(caller.at(number % 2), run_id))["output"] for number, run_id in enumerate(ids)]
    assert outputs == [f"Hello, n{number}!" for number in range(len(answers))]


async def test_streams_are_grouped_too_and_each_tells_its_own_run(caller: Caller, deployment: dict[str, Any]) -> None:
    answers = await ask_many(caller, deployment, mode="stream")
    ids = run_ids(answers)
    assert None not in groups(ids)
    assert len(groups(ids)) < len(set(ids)) == len(answers)
    for number, (run_id, answer) in enumerate(zip(ids, answers, strict=True)):
        events = streamed(answer)
        assert [event["type"] for event in events] == TYPES
        assert {event["run_id"] for event in events} == {run_id}
        assert events[-1]["data"]["output"] == f"Hello, n{number}!"


def wide() -> dict[str, Any]:
    """The greeter, for long names."""
    fields = [{"name": "name", "type": "string", "max_length": 100_000}]
    return {
        **greeter(),
        "slug": "wide",
        "nodes": [node("in", "api_input", {"fields": fields}), *greeter()["nodes"][1:]],
    }


Alone = Callable[[Caller, dict[str, Any], int], Coroutine[Any, Any, Answer]]


ALONE: dict[str, Alone] = {
    "key": lambda caller, made, n: ask(caller, made, headers={"Idempotency-Key": f"key-{n}"}),
    "session": lambda caller, made, n: ask(caller, made, session_id=f"s-{n}"),
    "tweaks": lambda caller, made, n: ask(caller, made, tweaks={"hi": {"text": f"Bye {n}"}}),
    "size": lambda caller, made, n: ask(caller, made, "x" * TOO_LARGE),
}


@pytest.mark.parametrize("reason", ALONE)
async def test_a_run_that_needs_more_goes_by_itself_among_the_others(caller: Caller, reason: str) -> None:
    made = await caller.deploy(wide())
    *answers, grouped = await asyncio.gather(*[ALONE[reason](caller, made, n) for n in range(6)], ask(caller, made))
    assert {answer.status for answer in answers} == {200}
    ids = run_ids(answers)
    assert {len(run_id) for run_id in ids} == {30}
    assert len(set(ids)) == 6
    assert len(run_ids([grouped])[0]) == 32
    assert grouped.json["output"] == "Hello, Ada!"


async def test_runs_of_a_limited_workspace_go_by_themselves(root: Caller) -> None:
    body = {"name": "limited", "plan": "enterprise", "limits": {"concurrent_runs": 100}}
    made = await root.post("/v1/workspaces", body, expect=201)
    limited = root.having(made["admin_key"], made["id"])
    answers = await ask_some(limited, await limited.deploy(), 6)
    assert {answer.status for answer in answers} == {200}
    assert {len(run_id) for run_id in run_ids(answers)} == {30}


async def test_a_flow_that_reaches_outside_goes_by_itself(caller: Caller) -> None:
    made = await caller.deploy(chain(greeter()["nodes"][0], node("p", "prompt", {"model": "echo/echo", "prompt": "x"})))
    answers = await ask_some(caller, made, 4)
    assert {(answer.status, len(answer.json["id"])) for answer in answers} == {(200, 30)}


async def test_two_workspaces_at_the_same_moment_share_no_group(root: Caller) -> None:
    workspaces = [await new_workspace(root, f"side-{number}") for number in range(3)]
    made = [await each.deploy() for each in workspaces]
    asked = [ask_some(each, deployment, 16) for each, deployment in zip(workspaces, made, strict=True)]
    found = [groups(run_ids(answers)) for answers in await asyncio.gather(*asked)]
    assert sum(map(len, found)) == len(set.union(*found))
