"""The audit over HTTP, after five thousand runs: all that was done, to whoever may know it, and to nobody else."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.e2e.caller import Caller, calling, until
from tests.e2e.flows import chain, output, template
from tests.stack import Stack

BATCHES, BATCH = 5, 1000
EVENTS_A_RUN = 9


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    environment = {"HEADGATE_FSYNC": "interval"}
    with Stack(tmp_path_factory.mktemp("audit"), gateways=2, executors=2, env=environment) as running:
        yield running


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[Caller]:
    async with calling(stack) as caller:
        yield caller


@pytest.fixture(scope="module")
def busy(stack: Stack) -> dict[str, Any]:
    """A workspace in which five thousand runs were asked for and have ended; they are not waited for twice."""

    async def work() -> dict[str, Any]:
        async with calling(stack) as caller:
            made = (await caller.call("POST", "/v1/workspaces", {"name": "busy", "plan": "enterprise"})).body
        async with using(stack, made["admin_key"]) as owner:
            deployment = await owner.deploy(chain(template("hi", "Hello, {{ in.text }}!"), output("{{ hi.text }}")))
            path = f"/v1/deployments/{deployment}/batch"
            asked = [
                await owner.call("POST", path, {"inputs": [{"text": f"{b}-{n}"} for n in range(BATCH)]})
                for b in range(BATCHES)
            ]
            for each in asked:
                await until(lambda each=each: ended(owner, each.body["batch_id"]), 60)
        runs = [run["id"] for each in asked for run in each.body["runs"]]
        return {**made, "deployment": deployment, "runs": runs}

    return asyncio.run(work())


async def ended(caller: Caller, batch_id: str) -> bool:
    return bool((await caller.call("GET", f"/v1/batches/{batch_id}")).body["status"] == "completed")


def using(stack: Stack, key: str) -> Any:
    """A caller with another key than the admin's."""
    return calling(Keyed(stack, key))


class Keyed:
    """The stack as the holder of one key meets it."""

    def __init__(self, stack: Stack, key: str) -> None:
        self.urls = stack.urls
        self.headers = {"X-API-Key": key}


async def lines(caller: Caller, query: str = "", gateway: int = 0) -> list[dict[str, Any]]:
    """Everything that is wanted, as NDJSON."""
    url = f"{caller.stack.urls[gateway]}/v1/audit/events?format=ndjson{query}"
    async with caller.session.get(url) as answer:
        assert answer.status == 200
        assert answer.content_type == "application/x-ndjson"
        return [json.loads(line) async for line in answer.content]


async def pages(caller: Caller, query: str = "", name: str = "after") -> AsyncIterator[list[dict[str, Any]]]:
    """The same page by page, each page asked of the other gateway."""
    path = f"/v1/audit/events?limit=100{query}"
    at, gateway = "", 0
    while True:
        body = (await caller.call("GET", path + at, gateway=gateway)).body
        yield body["data"]
        if body["next_cursor"] is None:
            return
        at, gateway = f"&{name}={body['next_cursor']}", 1 - gateway


async def test_the_audit_of_five_thousand_runs_is_what_was_done(stack: Stack, busy: dict[str, Any]) -> None:
    async with using(stack, busy["admin_key"]) as owner:
        told = await lines(owner)
        of_runs: dict[str, list[dict[str, Any]]] = {}
        for entry in told:
            if "run_id" in entry:
                of_runs.setdefault(entry["run_id"], []).append(entry)
        assert set(of_runs) == set(busy["runs"])
        assert len(of_runs) == BATCHES * BATCH
        for entries in of_runs.values():
            assert [entry["seq"] for entry in entries] == list(range(1, EVENTS_A_RUN + 1))
        counted = Counter(entry["type"] for entry in told)
        assert counted["run.requested"] == counted["run.completed"] == BATCHES * BATCH
        assert counted["batch.requested"] == BATCHES
        assert [entry["stored_at"] for entry in told] == sorted(entry["stored_at"] for entry in told)
        for run_id in busy["runs"][:: BATCH // 2]:
            events = await owner.events(run_id)
            same = [{name: e[name] for name in ("type", "seq", "run_id", "at", "data")} for e in of_runs[run_id]]
            assert same == [{name: e[name] for name in ("type", "seq", "run_id", "at", "data")} for e in events]


async def test_pages_of_both_gateways_make_the_same_as_the_lines(stack: Stack, busy: dict[str, Any]) -> None:
    async with using(stack, busy["admin_key"]) as owner:
        told = await lines(owner, "&type=run.requested")
        for name in ("after", "cursor"):
            paged = [entry async for page in pages(owner, "&type=run.requested", name) for entry in page]
            assert paged == told
        middle = told[len(told) // 2]["position"]
        assert await lines(owner, f"&type=run.requested&after={middle}", gateway=1) == told[len(told) // 2 + 1 :]


async def test_others_see_nothing_of_it(stack: Stack, admin: Caller, busy: dict[str, Any]) -> None:
    mine = {entry["workspace"] for entry in await lines(admin)}
    assert busy["id"] not in mine
    assert await lines(admin, f"&run_id={busy['runs'][0]}") == []
    async with using(stack, busy["admin_key"]) as owner:
        assert {entry["workspace"] for entry in await lines(owner, "&type=key")} == {busy["id"]}
        position = (await owner.call("GET", "/v1/audit/events?limit=1")).body["data"][0]["position"]
    refused = await admin.call("GET", f"/v1/audit/events?after={position}")
    assert (refused.status, refused.body["code"]) == (400, "invalid_input")


async def test_changes_say_who_made_them_when_and_from_where(admin: Caller) -> None:
    made = (await admin.call("POST", "/v1/keys", {"name": "mine", "permissions": ["read"]})).body
    deployment = await admin.deploy(chain(template("hi", "hi")))
    await admin.call("PATCH", f"/v1/deployments/{deployment}", {"public": True})
    await admin.call("POST", f"/v1/keys/{made['id']}/rotate", {})
    await admin.call("DELETE", f"/v1/keys/{made['id']}")
    told = await lines(admin)
    key = [entry for entry in told if entry.get("entity_id") == made["id"]]
    assert [entry["type"] for entry in key] == ["key.created", "key.rotated", "key.deleted"]
    changed = [entry for entry in told if entry.get("entity_id") == deployment]
    assert [entry["type"] for entry in changed] == ["deployment.created", "deployment.changed"]
    assert [entry["state"]["public"] for entry in changed] == [False, True]
    for entry in key + changed:
        assert (entry["by"], entry["address"]) == ("key_root", "127.0.0.1")
        assert entry["at"].endswith("Z")
    assert {entry["type"] for entry in await lines(admin, "&type=flow")} >= {"flow.created", "flow.version_stored"}
    assert {entry["by"] for entry in await lines(admin, "&key_id=key_root")} == {"key_root"}


async def test_no_secret_is_in_it(stack: Stack, admin: Caller) -> None:
    made = (await admin.call("POST", "/v1/keys", {"name": "s", "permissions": ["read"]})).body
    deployed = (await admin.call("POST", "/v1/flows", chain(template("hi", "hi")))).body
    deployed = (await admin.call("POST", f"/v1/flows/{deployed['id']}/deployments", {})).body
    text = json.dumps(await lines(admin))
    for secret in (made["key"], deployed["api_key"], deployed["signing_secret"], stack.admin_key):
        assert secret not in text
        assert secret[-30:] not in text
    assert '"hash"' not in text
    assert '"secrets"' not in text


async def test_only_an_admin_of_the_whole_workspace_may_read_it(stack: Stack, admin: Caller) -> None:
    deployment = await admin.deploy(chain(template("hi", "hi")))
    for more in (
        {"permissions": ["read", "write", "execute"]},
        {"permissions": ["admin"], "deployment_ids": [deployment]},
    ):
        made = (await admin.call("POST", "/v1/keys", {"name": "less", **more})).body
        async with using(stack, made["key"]) as lesser:
            refused = await lesser.call("GET", "/v1/audit/events")
            assert (refused.status, refused.body["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "format=xml", "after=x", "cursor=x", "since=yesterday", "since=2026-01-01", "run_id=a.b"],
)
async def test_what_cannot_be_meant_is_refused(admin: Caller, query: str) -> None:
    refused = await admin.call("GET", f"/v1/audit/events?{query}")
    assert (refused.status, refused.body["code"]) == (400, "invalid_input")
    assert refused.body["errors"][0]["pointer"] == f"/{query.partition('=')[0]}"


async def test_reading_stops_when_its_reader_leaves(stack: Stack, busy: dict[str, Any]) -> None:
    async with using(stack, busy["admin_key"]) as owner:
        answer = await owner.session.get(f"{stack.url}/v1/audit/events?format=ndjson")
        await answer.content.readline()
        assert await open_streams(stack) == 1
        answer.close()

        async def nobody_reads() -> bool:
            return await open_streams(stack) == 0

        await until(nobody_reads)


async def open_streams(stack: Stack) -> int:
    async with aiohttp.ClientSession() as session, session.get(f"{stack.url}/metrics") as answer:
        (line,) = [each for each in (await answer.text()).splitlines() if each.startswith("headgate_streams_open ")]
        return int(float(line.split()[1]))


def test_the_command_line_shows_and_follows_it(stack: Stack, busy: dict[str, Any]) -> None:
    def command(*words: str) -> list[str]:
        environment = {**stack.environment, "HEADGATE_API_KEY": busy["admin_key"]}
        line = [sys.executable, "-m", "cli", "audit", *words]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout.splitlines()

    table = command("--type", "deployment")
    assert len(table) == 1
    assert "deployment.created" in table[0]
    assert busy["deployment"] in table[0]
    told = [json.loads(line) for line in command("--run", busy["runs"][0], "--json")]
    assert [entry["seq"] for entry in told] == list(range(1, EVENTS_A_RUN + 1))


async def test_the_command_line_follows_what_happens(stack: Stack, admin: Caller) -> None:
    words = ["audit", "--type", "key.created", "--follow", "--json"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", *words, env=stack.environment, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        for name in ("first", "second"):
            await admin.call("POST", "/v1/keys", {"name": name, "permissions": ["read"]})
            async with asyncio.timeout(20):
                while json.loads(await process.stdout.readline())["state"]["name"] != name:
                    pass
    finally:
        process.terminate()
        await process.wait()
