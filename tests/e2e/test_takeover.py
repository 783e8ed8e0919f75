"""Executors that are killed with runs in hand: others carry the runs on from where the log has them."""

import asyncio
import os
import re
import signal
from collections import Counter
from typing import Any

from libs.events.broker import Broker
from tests.e2e.broker import all_done, broker_of, redelivered
from tests.e2e.caller import Caller, assert_whole, calling, until
from tests.e2e.flows import chain, http, output
from tests.e2e.target import Target
from tests.stack import Stack

NODES = ["in", "a", "b", "c", "out"]
AT_ONCE = 20


async def _deploy(caller: Caller, web: Target) -> str:
    """Three calls in a row, of which the second hangs."""
    web.hold("/b")
    calls = [http(name, web.url(f"/{name}")) for name in "abc"]
    return await caller.deploy(chain(*calls, output("{{ in.text }} {{ c.body.path }}")))


async def _holder(caller: Caller, run_id: str) -> int:
    """The process that holds a run, by the name that the run's log gives and as `processes.json` lists it."""
    name = (await caller.saw(run_id, "run.started"))["data"]["executor"]
    found = re.fullmatch(r"executor-(\d+)-.*-(\d+)", name)
    assert found, name
    process = caller.stack.process("executor", int(found[1]))
    assert process["pid"] == int(found[2])
    return int(found[2])


def _starts(events: list[dict[str, Any]]) -> Counter[str]:
    return Counter(event["node"] for event in events if event["type"] == "node.started")


async def test_a_run_whose_executor_is_killed_ends_and_no_finished_node_is_called_again(
    fragile: Stack, web: Target
) -> None:
    async with calling(fragile) as caller:
        deployment = await _deploy(caller, web)
        waiting = asyncio.create_task(caller.start(deployment, "hello", gateway=1))
        (request,) = await web.received("/b")
        pid = await _holder(caller, request.run_id)
        os.kill(pid, signal.SIGKILL)
        await web.received("/b", 2)
        web.release("/b")
        answer = await waiting
        assert (answer.status, answer.body["output"]) == (200, "hello /c")
        assert answer.run_id == request.run_id
        assert [len(web.to(path)) for path in ("/a", "/b", "/c")] == [1, 2, 1]
        assert web.calls("/b") == {f"{answer.run_id}:b": 2}
        events = await caller.events(answer.run_id)
        assert_whole(events, NODES)
        assert _starts(events) == {"in": 1, "a": 1, "b": 2, "c": 1, "out": 1}
        assert [event["type"] for event in events].count("run.started") == 1
        await asyncio.to_thread(fragile.restarted, "executor", _index(events), pid)


async def test_many_runs_in_flight_survive_the_executor_that_holds_them(fragile: Stack, web: Target) -> None:
    async with calling(fragile) as caller:
        deployment = await _deploy(caller, web)
        calls = [asyncio.create_task(caller.start(deployment, f"t{n}", gateway=n % 2)) for n in range(AT_ONCE)]
        held = {request.run_id for request in await web.received("/b", AT_ONCE)}
        holders = {run_id: await _holder(caller, run_id) for run_id in held}
        pid, _ = Counter(holders.values()).most_common(1)[0]
        orphans = {run_id for run_id in held if holders[run_id] == pid}
        os.kill(pid, signal.SIGKILL)
        await web.received("/b", 2 * len(orphans), runs=orphans)
        web.release("/b")
        answers = await asyncio.gather(*calls)
        assert [answer.body["output"] for answer in answers] == [f"t{n} /c" for n in range(AT_ONCE)]
        assert {answer.run_id for answer in answers} == held
        assert web.calls("/a") == {f"{run_id}:a": 1 for run_id in held}
        assert web.calls("/b") == {f"{run_id}:b": 2 if run_id in orphans else 1 for run_id in held}
        assert web.calls("/c") == {f"{run_id}:c": 1 for run_id in held}
        for run_id in held:
            assert_whole(await caller.events(run_id), NODES)
        index = _index(await caller.events(next(iter(orphans))))
        await asyncio.to_thread(fragile.restarted, "executor", index, pid)


async def test_an_executor_that_was_only_asleep_lets_go_of_what_others_took(fragile: Stack, web: Target) -> None:
    async with calling(fragile) as caller:
        deployment = await _deploy(caller, web)
        waiting = asyncio.create_task(caller.start(deployment, "hello"))
        (request,) = await web.received("/b")
        pid = await _holder(caller, request.run_id)
        os.kill(pid, signal.SIGSTOP)
        try:
            await web.received("/b", 2)
            web.release("/b")
            answer = await waiting
        finally:
            os.kill(pid, signal.SIGCONT)
        assert answer.body["output"] == "hello /c"
        # The sleeper has its answer from B now, but what it makes of it, it may not write.
        url = next(process["url"] for process in fragile.processes() if process["pid"] == pid)
        await until(lambda: _holds_nothing(caller, url))
        events = await caller.events(answer.run_id)
        assert_whole(events, NODES)
        assert web.calls("/c")[f"{answer.run_id}:c"] == 1


async def test_runs_that_come_back_to_those_who_hold_them_are_held_once(fragile: Stack, web: Target) -> None:
    async with calling(fragile) as caller, broker_of(fragile) as broker:
        deployment = await _deploy(caller, web)
        run_ids = [await caller.submit(deployment) for _ in range(AT_ONCE)]
        await web.received("/b", AT_ONCE)
        before = await redelivered(broker)
        for executor in range(3):
            fragile.kill("executor", executor, signal.SIGSTOP)
        try:
            await until(lambda: _came_back(broker, before + AT_ONCE))
        finally:
            for executor in range(3):
                fragile.kill("executor", executor, signal.SIGCONT)
        cancelled = await asyncio.gather(*[caller.cancel(run_id) for run_id in run_ids])
        assert {answer.status for answer in cancelled} == {202}
        asked = asyncio.get_running_loop().time()
        for request in web.to("/b"):
            assert await web.closed(request) - asked < 1
            assert request.cut
        await until(lambda: all_done(broker))
        assert web.to("/c") == []
        for run_id in run_ids:
            assert_whole(await caller.events(run_id), NODES)


async def _came_back(broker: Broker, count: int) -> bool:
    return await redelivered(broker) >= count


async def _holds_nothing(caller: Caller, url: str) -> bool:
    async with caller.session.get(f"{url}/metrics") as response:
        return "\nheadgate_runs_active 0.0\n" in await response.text()


def _index(events: list[dict[str, Any]]) -> int:
    name: str = next(event["data"]["executor"] for event in events if event["type"] == "run.started")
    return int(name.split("-")[1])
