"""The log or the tables go away for a while: callers are told, nothing accepted is lost, and it all comes back."""

import asyncio
import os
import signal
from pathlib import Path

from tests.e2e.caller import Answer, Caller, assert_whole, calling, until
from tests.e2e.flows import chain, http, output, template
from tests.e2e.target import Target
from tests.e2e.wire import wire
from tests.stack import Stack

TOLD_SECONDS = 6.0


async def test_while_the_log_is_away_callers_are_told_to_come_back_and_nothing_accepted_is_lost(
    fragile: Stack, web: Target
) -> None:
    web.hold("/a")
    async with calling(fragile) as caller:
        slow = await caller.deploy(chain(http("a", web.url("/a")), output("{{ a.body.path }}")))
        quick = await caller.deploy(chain(template("a", "{{ in.text }}"), output("{{ a.text }}")))
        waiting = asyncio.create_task(caller.start(slow))
        (request,) = await web.received("/a")
        done = await caller.start(quick)
        path = f"/v1/runs/{request.run_id}"
        nats = fragile.kill("nats", number=signal.SIGSTOP)
        try:
            await until(lambda: _stands_still(nats))
            async with wire(f"{fragile.urls[1]}{path}/events", fragile.headers) as stream:
                refused = await _ask_for_everything(caller, quick, done.run_id)
                web.release("/a")
                os.kill(nats, signal.SIGCONT)
                answer = await waiting
        finally:
            os.kill(nats, signal.SIGCONT)
        assert {each.status for each in refused} == {503}
        assert {each.body["code"] for each in refused} == {"unavailable"}
        assert all(each.headers["Retry-After"].isdigit() for each in refused)
        assert max(each.seconds for each in refused) < TOLD_SECONDS
        assert stream.raw == b""
        assert (answer.status, answer.body["output"]) == (200, "/a")
        assert_whole(await caller.events(request.run_id), ["in", "a", "out"])
        for gateway in (0, 1):
            await until(lambda at=gateway: _works(caller, quick, at))  # type: ignore[misc]  # bound in the loop
        # What was refused may have been stored all the same; then it was carried through as well.
        listed = await caller.call("GET", f"/v1/runs?deployment_id={quick}&limit=100")
        for run in listed.body["data"]:
            assert (await caller.ended(run["id"]))["status"] == "completed"


async def test_a_stream_outlives_an_outage_of_the_log(fragile: Stack, web: Target) -> None:
    web.hold("/a")
    async with calling(fragile) as caller:
        run_id = await caller.submit(await caller.deploy(chain(http("a", web.url("/a")), output("{{ a.status }}"))))
        await web.received("/a")
        async with wire(f"{fragile.url}/v1/runs/{run_id}/events", fragile.headers) as stream:
            await stream.read_until("node.started")
            old = fragile.kill("nats")
            await asyncio.to_thread(fragile.restarted, "nats", 0, old)
            web.release("/a")
            await stream.read_all()
        assert stream.events == await caller.events(run_id)
        assert_whole(stream.events, ["in", "a", "out"])
        for gateway in (0, 1):
            await until(lambda at=gateway: _is_ready(caller, at))  # type: ignore[misc]  # bound in the loop


async def test_runs_go_on_while_the_tables_are_away_and_a_list_is_never_older_than_a_receipt(fragile: Stack) -> None:
    async with calling(fragile) as caller:
        deployment = await caller.deploy(chain(template("a", "{{ in.text }}"), output("{{ a.text }}")))
        started = [(await caller.start(deployment)).run_id]
        killed = fragile.kill("postgres")
        statuses: list[int] = []

        async def is_back() -> bool:
            answer = await caller.start(deployment, str(len(started)))
            assert answer.body["output"] == str(len(started))
            started.append(answer.run_id)
            listed = await caller.call("GET", f"/v1/runs?deployment_id={deployment}&limit=1", gateway=len(started) % 2)
            statuses.append(listed.status)
            assert listed.seconds < TOLD_SECONDS
            if listed.status == 200:
                assert [run["id"] for run in listed.body["data"]] == [answer.run_id]
            else:
                assert (listed.status, listed.body["code"]) == (503, "unavailable")
                assert "Retry-After" in listed.headers
            return statuses[-4:] == [200] * 4

        await until(is_back)
        assert 503 in statuses
        await asyncio.to_thread(fragile.restarted, "postgres", 0, killed)
        found: list[str] = []
        cursor = ""
        while cursor is not None:
            page = await caller.call("GET", f"/v1/runs?deployment_id={deployment}&limit=100&cursor={cursor}")
            found += [run["id"] for run in page.body["data"]]
            cursor = page.body["next_cursor"]
        assert found == started[::-1]


async def test_the_first_list_after_an_outage_of_the_tables_has_the_newest_run(fragile: Stack) -> None:
    async with calling(fragile) as caller:
        deployment = await caller.deploy(chain(template("a", "{{ in.text }}"), output("{{ a.text }}")))
        killed = fragile.kill("postgres")
        await asyncio.to_thread(fragile.restarted, "postgres", 0, killed)
        for gateway in (0, 1):
            # Nothing was written meanwhile, so nobody has noticed yet that the connections are dead.
            await until(lambda at=gateway: _lists(caller, at))  # type: ignore[misc]  # bound in the loop
            run_id = await caller.submit(deployment)
            listed = await caller.call("GET", f"/v1/runs?deployment_id={deployment}&limit=1", gateway=gateway)
            if listed.status == 200:
                assert [run["id"] for run in listed.body["data"]] == [run_id]
            else:
                assert (listed.status, listed.body["code"]) == (503, "unavailable")


async def _stands_still(pid: int) -> bool:
    """Whether every thread of a process has met its SIGSTOP: one that has not may still accept a run."""
    threads = Path(f"/proc/{pid}/task").glob("*/stat")  # noqa: ASYNC240  # procfs does not block
    states = [stat.read_text().rpartition(")")[2].split()[0] for stat in threads]
    return set(states) == {"T"}


async def _ask_for_everything(caller: Caller, deployment: str, run_id: str) -> list[Answer]:
    """Every kind of call about runs, at both gateways, all at once."""
    calls = []
    for gateway in (0, 1):
        calls += [caller.start(deployment, mode=mode, gateway=gateway) for mode in ("sync", "async", "stream")]
        calls += [caller.call("GET", path, gateway=gateway) for path in ("/v1/runs", f"/v1/runs/{run_id}")]
        calls += [
            caller.call("GET", f"/v1/runs/{run_id}/events", gateway=gateway),
            caller.cancel(run_id, gateway=gateway),
        ]
    return await asyncio.gather(*calls)


async def _works(caller: Caller, deployment: str, gateway: int) -> bool:
    return (await caller.start(deployment, gateway=gateway)).status == 200


async def _is_ready(caller: Caller, gateway: int) -> bool:
    return (await caller.call("GET", "/readyz", gateway=gateway)).status == 200


async def _lists(caller: Caller, gateway: int) -> bool:
    return (await caller.call("GET", "/v1/runs", gateway=gateway)).status == 200
