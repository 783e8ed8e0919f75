"""Usage and statistics add up to the events of the log."""

import asyncio
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from statistics import quantiles
from typing import Any

import pytest

from tests.e2e.caller import Caller, calling
from tests.e2e.flows import chain, http, output, prompt
from tests.e2e.target import target
from tests.stack import Stack

SUMS = ("requests", "runs", "errors", "input_tokens", "output_tokens", "cost_usd")
FAILING = {"id": "hi", "type": "transform", "config": {"expression": "length(in.count)"}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("usage"), gateways=2, env={"HEADGATE_FSYNC": "interval"}) as running:
        yield running


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[Caller]:
    async with calling(stack) as caller:
        yield caller


@pytest.fixture(scope="module")
def used(stack: Stack) -> dict[str, Any]:
    """Runs of two deployments with three keys: most complete, some fail, one is cancelled."""
    return asyncio.run(use(stack))


async def use(stack: Stack) -> dict[str, Any]:
    async with calling(stack) as admin, target() as web:
        web.hold("/slow")
        talks = await admin.deploy(chain(prompt("p", "echo/echo"), output("{{ p.text }}")))
        fails = await admin.deploy(chain(FAILING))
        waits = await admin.deploy(chain(http("wait", web.url("/slow"))))
        made = (await admin.call("POST", "/v1/keys", {"name": "k", "permissions": ["execute"]})).body
        for number in range(12):
            await admin.start(talks, "one two three"[: number + 1])
        for _ in range(3):
            assert (await admin.start(fails)).body["status"] == "failed"
        cancelled = await admin.submit(waits)
        await web.received("/slow")
        await admin.cancel(cancelled)
        await admin.start(talks, "other key")
    async with calling(KeyedStack(stack, made["key"])) as other:
        for _ in range(4):
            await other.start(talks, "four words are these")
    return {"talks": talks, "fails": fails, "waits": waits, "key": made["id"], "cancelled": cancelled}


class KeyedStack:
    """The stack as the holder of one key meets it."""

    def __init__(self, stack: Stack, key: str) -> None:
        self.urls = stack.urls
        self.headers = {"X-API-Key": key}


async def usage(caller: Caller, group_by: str, more: str = "", gateway: int = 0) -> list[dict[str, Any]]:
    answer = await caller.call("GET", f"/v1/usage?group_by={group_by}{more}", gateway=gateway)
    assert answer.status == 200, answer.body
    rows: list[dict[str, Any]] = answer.body["data"]
    return rows


async def folded(admin: Caller) -> dict[str, Any]:
    """What the log says, from the audit, which reads it: totals, and the same by group."""
    asked: dict[str, dict[str, Any]] = {}
    totals: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(SUMS, 0))
    async with admin.session.get(f"{admin.stack.url}/v1/audit/events?format=ndjson&type=run") as answer:
        events = [json.loads(line) async for line in answer.content]
    for event in events:
        if event["type"] == "run.requested":
            asked[event["run_id"]] = event
    for event in events:
        request = asked[event["run_id"]]
        groups = ("all", request["data"]["deployment_id"], request["by"], request["at"][:10])
        end = event["data"] if event["type"] in ("run.completed", "run.failed", "run.cancelled") else None
        for group in groups:
            if event["type"] == "run.requested":
                totals[group]["requests"] += 1
            if end:
                totals[group]["runs"] += 1
                totals[group]["errors"] += event["type"] == "run.failed"
                for name in ("input_tokens", "output_tokens", "cost_usd"):
                    totals[group][name] += end["usage"][name]
    return totals


@pytest.mark.parametrize("group_by", ["deployment", "key", "day"])
async def test_usage_adds_up_to_the_log(admin: Caller, used: dict[str, Any], group_by: str) -> None:
    rows = await usage(admin, group_by)
    totals = await folded(admin)
    member = "day" if group_by == "day" else f"{group_by}_id"
    for row in rows:
        assert {name: row[name] for name in SUMS} == pytest.approx(totals[row[member]])
    for name in SUMS:
        assert sum(row[name] for row in rows) == pytest.approx(totals["all"][name])
    assert totals["all"]["requests"] == 21
    assert totals["all"]["errors"] == 3
    assert totals["all"]["output_tokens"] > 0


async def test_each_row_has_what_the_contract_says(admin: Caller, used: dict[str, Any]) -> None:
    rows = {row["deployment_id"]: row for row in await usage(admin, "deployment")}
    assert list(rows) == [used["talks"], used["fails"], used["waits"]]
    for row in rows.values():
        assert set(row) == {"deployment_id", *SUMS, "p50_seconds", "p95_seconds"}
    runs = (await admin.call("GET", f"/v1/runs?deployment_id={used['talks']}&limit=100")).body["data"]
    cuts = quantiles([run["duration_seconds"] for run in runs], n=20, method="inclusive")
    talks = rows[used["talks"]]
    assert (talks["p50_seconds"], talks["p95_seconds"]) == pytest.approx((cuts[9], cuts[18]), abs=2e-6)
    assert (rows[used["waits"]]["runs"], rows[used["waits"]]["p50_seconds"]) == (1, None)
    by_key = {row["key_id"]: row["requests"] for row in await usage(admin, "key")}
    assert by_key == {"key_root": 17, used["key"]: 4}


async def test_both_gateways_say_the_same_at_once(admin: Caller, used: dict[str, Any]) -> None:
    """Ten seconds are allowed; what a gateway answers to holds all that was stored when it was asked."""
    deployment = await admin.deploy(chain(prompt("p", "echo/echo")))
    for number in range(1, 6):
        await admin.start(deployment)
        for gateway in (0, 1):
            counted = {row["deployment_id"]: row["runs"] for row in await usage(admin, "deployment", gateway=gateway)}
            assert counted[deployment] == number


async def test_a_span_is_from_its_beginning_and_before_its_end(admin: Caller, used: dict[str, Any]) -> None:
    runs = (await admin.call("GET", f"/v1/runs?deployment_id={used['fails']}")).body["data"]
    newest, middle, oldest = (run["created_at"] for run in runs)

    async def requests(since: str, until: str) -> int:
        rows = await usage(admin, "deployment", f"&since={since}&until={until}")
        return next((row["requests"] for row in rows if row["deployment_id"] == used["fails"]), 0)

    assert await requests(oldest, newest) == 2
    assert await requests(middle, middle) == 0
    assert await usage(admin, "day", "&since=2020-01-01T00:00:00Z&until=2020-02-01T00:00:00Z") == []


async def test_statistics_of_a_deployment(admin: Caller, used: dict[str, Any]) -> None:
    path = f"/v1/deployments/{used['fails']}/stats"
    stats = (await admin.call("GET", path)).body
    assert stats["requests"] == 3
    assert stats["runs"] == {"queued": 0, "running": 0, "completed": 0, "failed": 3, "cancelled": 0}
    assert stats["error_rate"] == 1.0
    runs = (await admin.call("GET", f"/v1/runs?deployment_id={used['fails']}")).body["data"]
    assert stats["last_call_at"] == runs[0]["created_at"]
    talks = (await admin.call("GET", f"/v1/deployments/{used['talks']}/stats")).body
    assert (talks["requests"], talks["error_rate"]) == (17, 0.0)
    assert talks["output_tokens"] == (await usage(admin, "deployment"))[0]["output_tokens"]
    earlier = (await admin.call("GET", f"{path}?until={runs[-1]['created_at']}")).body
    assert (earlier["requests"], earlier["p95_seconds"], earlier["error_rate"]) == (0, None, 0.0)
    assert earlier["last_call_at"] == runs[0]["created_at"]
    fresh = await admin.deploy(chain(prompt("p", "echo/echo")))
    assert (await admin.call("GET", f"/v1/deployments/{fresh}/stats")).body["last_call_at"] is None


async def test_a_key_bound_to_a_deployment_sees_its_own_alone(
    stack: Stack, admin: Caller, used: dict[str, Any]
) -> None:
    body = {"name": "bound", "permissions": ["read"], "deployment_ids": [used["fails"]]}
    made = (await admin.call("POST", "/v1/keys", body)).body
    async with calling(KeyedStack(stack, made["key"])) as bound:
        assert [row["deployment_id"] for row in await usage(bound, "deployment")] == [used["fails"]]
        assert [row["requests"] for row in await usage(bound, "day")] == [3]
        assert (await bound.call("GET", f"/v1/deployments/{used['fails']}/stats")).status == 200
        assert (await bound.call("GET", f"/v1/deployments/{used['talks']}/stats")).status == 403


async def test_another_workspace_has_used_nothing(stack: Stack, admin: Caller, used: dict[str, Any]) -> None:
    made = (await admin.call("POST", "/v1/workspaces", {"name": "o", "plan": "free"})).body
    async with calling(KeyedStack(stack, made["admin_key"])) as other:
        for group_by in ("deployment", "key", "day"):
            assert await usage(other, group_by) == []
        assert (await other.call("GET", f"/v1/deployments/{used['talks']}/stats")).status == 404


async def test_the_error_log_says_what_failed_and_why(admin: Caller, used: dict[str, Any]) -> None:
    failed = (await admin.call("GET", "/v1/runs?status=failed")).body["data"]
    assert [run["deployment_id"] for run in failed] == [used["fails"]] * 3
    for run in failed:
        assert (run["error"]["node"], run["error"]["code"]) == ("hi", "node_failed")
        assert run["error"]["message"]


@pytest.mark.parametrize(
    "query",
    [
        "group_by=week",
        "group_by=day&since=2026-13-01",
        "group_by=key&since=2026-02-01T00:00:00Z&until=2026-01-01T00:00:00Z",
    ],
)
async def test_what_cannot_be_meant_is_refused(admin: Caller, query: str) -> None:
    assert (await admin.call("GET", f"/v1/usage?{query}")).status == 400


def test_the_command_line_shows_it(stack: Stack, used: dict[str, Any]) -> None:
    def command(*words: str) -> str:
        line = [sys.executable, "-m", "cli", "usage", *words]
        return subprocess.run(
            line, env=stack.environment, capture_output=True, text=True, timeout=30, check=True
        ).stdout

    told = {line.split("\t")[0]: line.split("\t")[1] for line in command("--by", "key").splitlines()}
    assert told[used["key"]] == "4"
    rows = json.loads(command("--by", "deployment", "--json"))["data"]
    assert used["talks"] in [row["deployment_id"] for row in rows]
