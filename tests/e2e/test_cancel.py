"""Cancelling: from any gateway, at any time, the run ends there and then."""

import asyncio
import signal

import pytest

from tests.e2e.broker import all_done, broker_of
from tests.e2e.caller import Caller, assert_whole, calling, until
from tests.e2e.flows import chain, http, output, template
from tests.e2e.target import Target
from tests.stack import Stack

NODES = ["in", "a", "b", "out"]


async def _deploy(caller: Caller, web: Target) -> str:
    """A flow whose first node hangs, and whose second tells whether anything ran after it."""
    web.hold("/a")
    return await caller.deploy(chain(http("a", web.url("/a")), http("b", web.url("/b")), output("{{ b.status }}")))


async def test_a_hanging_node_is_cut_off_and_nothing_runs_after_it(caller: Caller, web: Target) -> None:
    deployment = await _deploy(caller, web)
    run_id = await caller.submit(deployment)
    (request,) = await web.received("/a")
    asked = asyncio.get_running_loop().time()
    answer = await caller.cancel(run_id)
    assert answer.status == 202
    assert answer.run_id == run_id
    assert answer.body["status"] == "cancelled"
    assert await web.closed(request) - asked < 1
    assert request.cut
    again = await caller.cancel(run_id)
    assert (again.status, again.body["code"]) == (409, "conflict")
    web.release("/a")
    async with broker_of(caller.stack) as broker:
        await until(lambda: all_done(broker))
    assert web.to("/b") == []
    events = await caller.events(run_id)
    assert_whole(events, NODES)
    assert events[-1]["type"] == "run.cancelled"


@pytest.mark.parametrize(("waits_at", "cancels_at"), [(0, 0), (0, 1), (1, 0)])
async def test_a_synchronous_caller_is_answered_with_the_cancelled_run_at_once(
    caller: Caller, web: Target, waits_at: int, cancels_at: int
) -> None:
    deployment = await _deploy(caller, web)
    waiting = asyncio.create_task(caller.start(deployment, gateway=waits_at))
    (request,) = await web.received("/a")
    cancelled = await caller.cancel(request.run_id, gateway=cancels_at)
    asked = asyncio.get_running_loop().time()
    answer = await waiting
    assert asyncio.get_running_loop().time() - asked < 0.5
    assert answer.status == 200
    assert answer.body == cancelled.body
    assert answer.body["status"] == "cancelled"


async def test_a_stream_ends_with_the_cancel(caller: Caller, web: Target) -> None:
    deployment = await _deploy(caller, web)
    url = f"{caller.stack.urls[1]}/v1/deployments/{deployment}/runs"
    async with caller.session.post(url, json={"mode": "stream"}) as stream:
        await web.received("/a")
        await caller.cancel(stream.headers["Headgate-Run-Id"])
        text = await stream.text()
    assert text.rstrip().rpartition("\n\n")[2].split("\n")[1] == "event: run.cancelled"


async def test_only_one_of_many_cancels_is_the_one(caller: Caller, web: Target) -> None:
    run_id = await caller.submit(await _deploy(caller, web))
    await web.received("/a")
    answers = await asyncio.gather(*[caller.cancel(run_id, gateway=n % 2) for n in range(10)])
    assert sorted(answer.status for answer in answers) == [202] + [409] * 9
    assert_whole(await caller.events(run_id), NODES)


async def test_a_queued_run_is_cancelled_and_never_begins(fragile: Stack, web: Target) -> None:
    async with calling(fragile) as caller:
        pure = await caller.deploy(chain(template("hi", "{{ in.text }}"), output("{{ hi.text }}")))
        calls = await caller.deploy(chain(http("a", web.url("/a")), output("{{ a.status }}")))
        for executor in range(3):
            fragile.kill("executor", executor, signal.SIGSTOP)
        try:
            waiting = asyncio.create_task(caller.start(pure))
            run_ids = [await caller.submit(each) for each in (pure, calls)]
            queued = await caller.run(run_ids[0])
            answers = [await caller.cancel(run_id, gateway=1) for run_id in run_ids]
            listed = await caller.call("GET", f"/v1/runs?deployment_id={pure}")
            (waited_for,) = {run["id"] for run in listed.body["data"]} - set(run_ids)
            await caller.cancel(waited_for)
            answer = await waiting
        finally:
            for executor in range(3):
                fragile.kill("executor", executor, signal.SIGCONT)
        assert queued["status"] == "queued"
        assert [each.status for each in answers] == [202, 202]
        assert (answer.status, answer.body["status"]) == (200, "cancelled")
        async with broker_of(fragile) as broker:
            await until(lambda: all_done(broker))
        for run_id in [*run_ids, waited_for]:
            events = await caller.events(run_id)
            assert [event["type"] for event in events[1:]] == ["node.skipped"] * 3 + ["run.cancelled"]
            assert (await caller.run(run_id))["status"] == "cancelled"
        assert web.to("/a") == []
