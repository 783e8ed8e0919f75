"""Groups of runs whose executors stop, die or are told to stop: every run that was accepted ends, once."""

import asyncio
import os
import signal
from collections import Counter
from typing import Any

from libs.events.subjects import group_of
from tests.e2e.broker import all_done, broker_of, messages
from tests.e2e.caller import Answer, Caller, assert_whole, calling, until
from tests.e2e.flows import chain, output, template
from tests.stack import Stack

NODES = ["in", "hi", "out"]
EXECUTORS = range(3)
AT_ONCE = 40


async def _deploy(caller: Caller) -> str:
    return await caller.deploy(chain(template("hi", "Hello, {{ in.text }}!"), output("{{ hi.text }}")))


async def _ask_many(caller: Caller, deployment: str) -> list[Answer]:
    """Ask for many runs at once, again if need be, until at least three have come together; of all, their receipts."""
    answers: list[Answer] = []
    async with asyncio.timeout(20):
        while not answers or _company(answers) < 3:
            texts = range(len(answers), len(answers) + AT_ONCE)
            answers += await asyncio.gather(
                *[caller.start(deployment, f"t{n}", mode="async", gateway=n % 2) for n in texts]
            )
    assert {answer.status for answer in answers} == {202}
    return answers


def _company(answers: list[Answer]) -> int:
    """How many the largest of their groups has; all must be in one."""
    groups = Counter(group_of(answer.run_id) for answer in answers)
    assert None not in groups
    return max(groups.values())


def _signal(stack: Stack, number: signal.Signals) -> None:
    for executor in EXECUTORS:
        stack.kill("executor", executor, number)


async def _kill_all(stack: Stack) -> None:
    """Kill every executor, asleep or not, and wait until others are there."""
    pids = [stack.process("executor", executor)["pid"] for executor in EXECUTORS]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    await asyncio.gather(*[_back(stack, number, pid) for number, pid in zip(EXECUTORS, pids, strict=True)])


async def _back(stack: Stack, number: int, pid: int) -> None:
    await asyncio.to_thread(stack.restarted, "executor", number, pid)


async def test_groups_whose_executors_are_killed_with_them_in_hand_end_run_by_run(fragile: Stack) -> None:
    """They are asleep when the groups come to them, and never wake: the groups are given to others, a second time."""
    async with calling(fragile) as caller, broker_of(fragile) as broker:
        deployment = await _deploy(caller)
        _signal(fragile, signal.SIGSTOP)
        try:
            answers = await _ask_many(caller, deployment)
            waiting = [asyncio.create_task(caller.start(deployment, f"w{n}")) for n in range(4)]
        finally:
            await _kill_all(fragile)
        outputs = [(await caller.ended(answer.run_id))["output"] for answer in answers]
        assert outputs == [f"Hello, t{n}!" for n in range(len(answers))]
        waited = await asyncio.gather(*waiting)
        assert [answer.body["output"] for answer in waited] == [f"Hello, w{n}!" for n in range(4)]
        await until(lambda: all_done(broker))
        assert any("group taken apart" in fragile.log("executor", number) for number in EXECUTORS)
        for answer in [*answers, *waited]:
            assert_whole(await caller.events(answer.run_id), NODES)


async def test_under_load_every_accepted_run_ends_once_whoever_is_killed(fragile: Stack) -> None:
    async with calling(fragile) as caller, broker_of(fragile) as broker:
        deployment = await _deploy(caller)
        stopping = asyncio.Event()
        answers: list[Answer] = []

        async def ask(number: int) -> None:
            while not stopping.is_set():
                mode = "async" if number % 2 else "sync"
                answers.append(await caller.start(deployment, f"t{number}", mode=mode, gateway=number % 2))

        async with asyncio.TaskGroup() as group:
            for number in range(12):
                group.create_task(ask(number))
            killed = []
            for executor in EXECUTORS:
                before = len(answers)
                await until(lambda before=before: _more(answers, before + 50))
                killed.append(fragile.kill("executor", executor))
            stopping.set()
        assert {answer.status for answer in answers} <= {200, 202}
        assert len({answer.run_id for answer in answers}) == len(answers)
        assert _company(answers) > 1
        await asyncio.gather(*[_back(fragile, number, pid) for number, pid in zip(EXECUTORS, killed, strict=True)])
        await until(lambda: all_done(broker))
        for answer in answers:
            run = await caller.ended(answer.run_id)
            assert run["status"] == "completed"
            assert_whole(await caller.events(answer.run_id), NODES)


async def _more(answers: list[Answer], count: int) -> bool:
    return len(answers) >= count


async def test_runs_of_a_group_that_waits_are_cancelled_one_by_one(fragile: Stack) -> None:
    async with calling(fragile) as caller, broker_of(fragile) as broker:
        deployment = await _deploy(caller)
        _signal(fragile, signal.SIGSTOP)
        try:
            answers = await _ask_many(caller, deployment)
            chosen = answers[::3]
            cancelled = await asyncio.gather(
                *[caller.cancel(each.run_id, gateway=n % 2) for n, each in enumerate(chosen)]
            )
            again = await caller.cancel(chosen[0].run_id)
        finally:
            _signal(fragile, signal.SIGCONT)
        assert {answer.status for answer in cancelled} == {202}
        assert again.status == 409
        await until(lambda: all_done(broker))
        for n, answer in enumerate(answers):
            run = await caller.ended(answer.run_id)
            assert run["status"] == ("completed" if n % 3 else "cancelled")
            assert_whole(await caller.events(answer.run_id), NODES)
        assert (await messages(broker, chosen[0].run_id))["progress"] >= 1


async def test_a_caller_who_waits_is_told_that_its_run_of_a_group_was_cancelled(fragile: Stack) -> None:
    async with calling(fragile) as caller:
        deployment = await _deploy(caller)
        _signal(fragile, signal.SIGSTOP)
        try:
            waiting = [asyncio.create_task(caller.start(deployment, f"t{n}")) for n in range(8)]
            listed = await _listed(caller, deployment, 8)
            cancelled = await caller.cancel(listed[3]["id"], gateway=1)
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            (answer,) = [task.result() for task in done]
        finally:
            _signal(fragile, signal.SIGCONT)
        assert (answer.status, answer.body) == (200, cancelled.body)
        statuses = Counter(each.body["status"] for each in await asyncio.gather(*waiting))
        assert statuses == {"completed": 7, "cancelled": 1}


async def _listed(caller: Caller, deployment: str, count: int) -> list[dict[str, Any]]:
    """The deployment's runs, once there are so many."""
    found: list[dict[str, Any]] = []

    async def all_there() -> bool:
        found[:] = (await caller.call("GET", f"/v1/runs?deployment_id={deployment}&limit=100")).body["data"]
        return len(found) == count

    await until(all_there)
    return found


async def test_a_stream_of_a_run_that_leaves_its_group_goes_on(fragile: Stack) -> None:
    async with calling(fragile) as caller:
        deployment = await _deploy(caller)
        url = f"{caller.stack.urls[1]}/v1/deployments/{deployment}/runs"
        _signal(fragile, signal.SIGSTOP)
        try:
            streams = await asyncio.gather(*[caller.session.post(url, json={"mode": "stream"}) for _ in range(6)])
            run_ids = [stream.headers["Headgate-Run-Id"] for stream in streams]
            await caller.cancel(run_ids[2])
            assert (await streams[2].text()).count("event: run.") == 2
        finally:
            _signal(fragile, signal.SIGCONT)
        for run_id, stream in zip(run_ids, streams, strict=True):
            text = await stream.text()
            end = "run.cancelled" if run_id == run_ids[2] else "run.completed"
            assert text.rstrip().rpartition("\n\n")[2].split("\n")[1] == f"event: {end}"
            assert text.count(f'"run_id":"{run_id}"') == text.count('"run_id":')
