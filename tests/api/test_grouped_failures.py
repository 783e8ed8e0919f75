"""Runs that are asked for together of which some fail: each ends as it would have alone."""

import asyncio
from typing import Any

import pytest

from libs.events.broker import Broker
from libs.events.subjects import group_of
from tests.api.client import Answer, Caller
from tests.e2e.broker import messages
from tests.flows.documents import chain, node

MANY = 32
FAILING = 5
"""The number that the flow cannot take."""

RETRIES: list[dict[str, Any]] = [{}, {"retry": {"max_attempts": 3, "backoff_seconds": 0.05}}]


async def deploy(caller: Caller, **more: Any) -> dict[str, Any]:
    """A flow of pure nodes that fails for one number; `more` is said of the node that does."""
    fields = [{"name": "n", "type": "integer", "required": True, "test_value": 1}]
    expression = f"abs(in.n == `{FAILING}` && 'odd' || in.n)"
    nodes = (
        node("in", "api_input", {"fields": fields}),
        node("frail", "transform", {"expression": expression}, **more),
        node("out", "api_output", {"value": "{{ frail }}"}),
    )
    return await caller.deploy({**chain(*nodes), "slug": "frail"})


async def ask(caller: Caller, made: dict[str, Any], n: int, mode: str = "sync") -> Answer:
    return await caller.call("POST", f"/v1/deployments/{made['id']}/runs", {"input": {"n": n}, "mode": mode})


def expected(n: int) -> tuple[str, int | None]:
    return ("failed", None) if n == FAILING else ("completed", n)


async def in_company(caller: Caller, made: dict[str, Any]) -> list[Answer]:
    """Ask for many at once until the one that fails came with others."""
    async with asyncio.timeout(20):
        while True:
            answers = await asyncio.gather(*[ask(caller, made, n) for n in range(MANY)])
            ids = [answer.json["id"] for answer in answers]
            if [group_of(run_id) for run_id in ids].count(group_of(ids[FAILING])) > 1:
                return answers


@pytest.mark.parametrize("more", RETRIES, ids=["plain", "with retries"])
async def test_one_that_fails_takes_no_other_along(caller: Caller, broker: Broker, more: dict[str, Any]) -> None:
    made = await deploy(caller, **more)
    answers = await in_company(caller, made)
    assert {answer.status for answer in answers} == {200}
    assert [(each.json["status"], each.json["output"]) for each in answers] == [expected(n) for n in range(MANY)]
    failed = answers[FAILING].json
    assert failed["error"]["node"] == "frail"
    events = (await caller.get(f"/v1/runs/{failed['id']}/events"))["data"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    types = [event["type"] for event in events]
    assert types.count("node.failed") == types.count("run.failed") == types.count("run.started") == 1
    assert "node.retrying" not in types  # what was computed once from the same is not computed again
    assert types[-1] == "run.failed"
    neighbour = next(
        each.json["id"]
        for each in answers
        if each is not answers[FAILING] and group_of(each.json["id"]) == group_of(failed["id"])
    )
    assert await messages(broker, neighbour) == {"requested": 1, "ended": 1}


async def test_a_group_of_which_all_fail_ends_run_by_run(caller: Caller, broker: Broker) -> None:
    made = await deploy(caller)
    answers = await asyncio.gather(*[ask(caller, made, FAILING) for _ in range(12)])
    assert {(answer.status, answer.json["status"]) for answer in answers} == {(200, "failed")}
    ids = [answer.json["id"] for answer in answers]
    assert len(set(ids)) == 12
    for run_id in ids:
        assert (await messages(broker, run_id))["ended"] == 1
        assert await caller.get(f"/v1/runs/{run_id}") == answers[ids.index(run_id)].json


async def test_failures_are_listed_counted_and_audited_for_their_own_run(caller: Caller) -> None:
    made = await deploy(caller)
    await caller.settle()
    answers = await in_company(caller, made)
    for gateway in (0, 1):
        there = caller.at(gateway)
        failed = await there.pages("/v1/runs?status=failed", 20)
        assert answers[FAILING].json in failed
        completed = await there.pages("/v1/runs?status=completed", 50)
        assert len(completed) == len(failed) * (MANY - 1)
        (row,) = (await there.get("/v1/usage?group_by=deployment"))["data"]
        assert (row["requests"], row["errors"]) == (len(failed) * MANY, len(failed))
    for answer in answers[FAILING - 1 : FAILING + 2]:
        query = f"/v1/audit/events?run_id={answer.json['id']}&limit=100"
        entries = (await caller.get(query))["data"]
        events = (await caller.get(f"/v1/runs/{answer.json['id']}/events"))["data"]
        assert [(e["type"], e["seq"], e["at"]) for e in entries] == [(e["type"], e["seq"], e["at"]) for e in events]
        found: list[dict[str, Any]] = []
        position = ""
        while len(found) < len(entries):
            page = (await caller.at(len(found) % 2).get(f"{query.replace('100', '1')}{position}"))["data"]
            found += page
            position = f"&after={page[-1]['position']}"
        assert found == entries
