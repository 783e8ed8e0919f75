"""Runs that wait: nobody holds them meanwhile, and what they wait for comes on time, whoever was killed.

The lease of this stack is longer than any test: what goes on in time after a kill goes on by its timer.
"""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from libs.events.broker import Broker
from libs.events.reads import last_message
from libs.events.subjects import TIMERS, due_subject
from libs.events.topology import api
from tests.e2e.broker import broker_of, messages
from tests.e2e.caller import Caller, assert_whole, calling, until
from tests.e2e.flows import branches, chain, http, output, template
from tests.e2e.target import Prepared, Target
from tests.e2e.wire import wire
from tests.stack import Stack

ON_TIME_SECONDS = 1.0
LEASE_SECONDS = 60


@pytest.fixture(scope="module")
def enduring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two executors that may be killed."""
    env = {"HEADGATE_LEASE_SECONDS": str(LEASE_SECONDS)}
    with Stack(tmp_path_factory.mktemp("enduring"), executors=2, env=env) as running:
        yield running


@pytest.fixture
async def caller(enduring: Stack) -> AsyncIterator[Caller]:
    async with calling(enduring) as found:
        yield found


@pytest.fixture
async def broker(enduring: Stack) -> AsyncIterator[Broker]:
    async with broker_of(enduring) as found:
        yield found


def delay(seconds: float | str, node_id: str = "wait", **more: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "delay", "config": {"seconds": seconds}, **more}


def time_of(event: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(event["at"])


def only(events: list[dict[str, Any]], kind: str, node: str | None = None) -> dict[str, Any]:
    """The one event of a type (of a node) there is."""
    (found,) = [event for event in events if event["type"] == kind and event.get("node") == node]
    return found


def seconds_late(events: list[dict[str, Any]]) -> float:
    """How long after its time the node `wait` was through."""
    wanted = datetime.fromisoformat(only(events, "node.started", "wait")["data"]["until"])
    return (time_of(only(events, "node.finished", "wait")) - wanted).total_seconds()


async def timers(broker: Broker, run_id: str) -> set[str]:
    """What is to come due for the run, by timer."""
    found = await api(broker, f"STREAM.INFO.{TIMERS}", {"subjects_filter": "tmr.at.run.*"}, dict)
    subjects = found["state"].get("subjects") or {}
    return {subject.rpartition(".")[2].removeprefix(run_id) for subject in subjects if run_id in subject}


async def was_handed_out(broker: Broker, run_id: str) -> bool:
    """Whether the run's timer has fired, and an executor was given it (and has perhaps thrown it away)."""
    if await timers(broker, run_id):
        return False
    due = await last_message(broker, TIMERS, due_subject("run", run_id))
    consumer = await api(broker, f"CONSUMER.INFO.{TIMERS}.executors", {}, dict)
    return due is None or bool(consumer["delivered"]["stream_seq"] >= due.sequence)


async def hold_nothing(stack: Stack, caller: Caller) -> bool:
    """Whether no executor holds a run."""
    urls = [process["url"] for process in stack.processes() if process["service"] == "executor"]
    return all(["\nheadgate_runs_active 0.0\n" in await _metrics(caller, url) for url in urls])


async def put_down(enduring: Stack, caller: Caller, broker: Broker, run_id: str) -> bool:
    """Whether the run waits for its timer and no executor has it."""
    return await timers(broker, run_id) == {""} and await hold_nothing(enduring, caller)


async def _metrics(caller: Caller, url: str) -> str:
    async with caller.session.get(f"{url}/metrics") as response:
        return await response.text()


async def kill_holder(stack: Stack, caller: Caller, run_id: str) -> Callable[[], Awaitable[None]]:
    """Kill the executor that has begun the run; what is answered waits for the next one."""
    name = (await caller.saw(run_id, "run.started"))["data"]["executor"]
    found = re.fullmatch(r"executor-(\d+)-.*-(\d+)", name)
    assert found, name
    index, pid = int(found[1]), int(found[2])
    os.kill(pid, signal.SIGKILL)
    return lambda: asyncio.to_thread(stack.restarted, "executor", index, pid)


async def test_a_delayed_run_is_held_by_nobody_and_goes_on_in_time(
    enduring: Stack, caller: Caller, broker: Broker
) -> None:
    document = chain(delay("{{ in.text }}"), template("after", "after {{ in.text }}"), output("{{ after.text }}"))
    deployment = await caller.deploy(document)
    waiting = asyncio.create_task(caller.start(deployment, "2"))
    await until(lambda: hold_nothing(enduring, caller))
    answer = await waiting
    assert (answer.status, answer.body["output"]) == (200, "after 2")
    events = await caller.events(answer.run_id)
    assert_whole(events, ["in", "wait", "after", "out"])
    assert only(events, "node.finished", "wait")["data"]["output"] == {}
    assert 0 <= seconds_late(events) < ON_TIME_SECONDS
    assert await messages(broker, answer.run_id) == {"requested": 1, "progress": 1, "ended": 1}


async def test_a_delay_outlives_every_executor_and_the_broker(enduring: Stack, caller: Caller, broker: Broker) -> None:
    """Its stream stays open at the gateway meanwhile, and is not silent."""
    deployment = await caller.deploy(chain(delay(11), template("after", "done"), output("{{ after.text }}")))
    run_id = await caller.submit(deployment)
    await until(lambda: put_down(enduring, caller, broker, run_id))
    async with wire(f"{enduring.url}/v1/runs/{run_id}/events", enduring.headers) as stream:
        await stream.read_until("node.started")
        pids = {
            (service, index): enduring.kill(service, index)
            for service, index in [("executor", 0), ("executor", 1), ("nats", 0)]
        }
        await stream.read_all()
    for (service, index), pid in pids.items():
        await asyncio.to_thread(enduring.restarted, service, index, pid)
    events = await caller.events(run_id)
    assert stream.events == events
    assert "ping" in [frame.comment for frame in stream.frames]
    assert_whole(events, ["in", "wait", "after", "out"])
    assert events[-1]["data"]["output"] == "done"
    assert 0 <= seconds_late(events) < ON_TIME_SECONDS


async def test_the_next_attempt_comes_in_time_though_the_executor_of_the_first_is_dead(
    enduring: Stack, caller: Caller, broker: Broker, web: Target
) -> None:
    web.answer("/a", [Prepared(status=503)])
    retry = {"max_attempts": 2, "backoff_seconds": 2.5}
    run_id = await caller.submit(await caller.deploy(chain(http("a", web.url("/a"), retry=retry))))
    retrying = await caller.saw(run_id, "node.retrying")
    await until(lambda: put_down(enduring, caller, broker, run_id))
    whole = await kill_holder(enduring, caller, run_id)
    assert (await caller.ended(run_id))["status"] == "completed"
    await whole()
    assert len(web.to("/a")) == 2
    assert web.calls("/a") == {f"{run_id}:a": 2}
    events = await caller.events(run_id)
    assert_whole(events, ["in", "a"])
    again = [event for event in events if event["type"] == "node.started" and event["node"] == "a"][1]
    late = (time_of(again) - datetime.fromisoformat(retrying["data"]["retry_at"])).total_seconds()
    assert 0 <= late < ON_TIME_SECONDS
    assert again["data"]["attempt"] == 2


async def test_the_time_of_a_run_goes_on_while_it_is_put_down(caller: Caller, broker: Broker) -> None:
    deployment = await caller.deploy(chain(delay(3600), template("after", "x"), timeout_seconds=1.5))
    answer = await caller.start(deployment)
    assert (answer.body["status"], answer.body["error"]["code"]) == ("failed", "run_timeout")
    assert 1.5 <= answer.body["duration_seconds"] < 1.5 + ON_TIME_SECONDS
    assert_whole(await caller.events(answer.run_id), ["in", "wait", "after"])
    assert await timers(broker, answer.run_id) == set()


async def test_the_time_of_a_run_goes_on_though_the_executor_that_works_on_it_is_dead(
    enduring: Stack, caller: Caller, broker: Broker, web: Target
) -> None:
    """The lease is far longer than the run's time; who waits is answered all the same."""
    web.hold("/a")
    document = chain(http("a", web.url("/a")), output("{{ a.status }}"), timeout_seconds=3)
    waiting = asyncio.create_task(caller.start(await caller.deploy(document)))
    (request,) = await web.received("/a")

    async def is_guarded() -> bool:
        return await timers(broker, request.run_id) == {"-over"}

    await until(is_guarded)
    whole = await kill_holder(enduring, caller, request.run_id)
    answer = await waiting
    await whole()
    assert (answer.body["status"], answer.body["error"]["code"]) == ("failed", "run_timeout")
    assert 3 <= answer.body["duration_seconds"] < 3 + ON_TIME_SECONDS
    assert len(web.to("/a")) == 1
    assert_whole(await caller.events(answer.run_id), ["in", "a", "out"])


async def test_a_cancelled_run_is_not_taken_up_again(
    enduring: Stack, caller: Caller, broker: Broker, web: Target
) -> None:
    run_id = await caller.submit(await caller.deploy(chain(delay(2), http("a", web.url("/a")))))
    await until(lambda: put_down(enduring, caller, broker, run_id))
    assert (await caller.cancel(run_id)).status == 202
    before = await caller.events(run_id)
    assert_whole(before, ["in", "wait", "a"])

    await until(lambda: was_handed_out(broker, run_id))
    later = await caller.start(await caller.deploy(chain(delay(1.1))))  # its timer is handed out after that one
    assert later.body["status"] == "completed"
    assert await caller.events(run_id) == before
    assert web.to("/a") == []


async def test_a_delay_beside_a_call_that_hangs_goes_on_in_time(caller: Caller, web: Target) -> None:
    web.hold("/slow")
    call = http("call", web.url("/slow"))
    document = branches(delay(1.5), call, delay(0.2, "short"), value=["{{ wait }}", "{{ call.status }}"])
    waiting = asyncio.create_task(caller.start(await caller.deploy(document)))
    (request,) = await web.received("/slow")
    await caller.saw(request.run_id, "node.finished", node="wait")
    web.release("/slow")
    answer = await waiting
    assert answer.body["output"] == [{}, 200]
    events = await caller.events(answer.run_id)
    assert_whole(events, ["in", "wait", "call", "short", "out"])
    assert 0 <= seconds_late(events) < ON_TIME_SECONDS


async def test_a_delay_has_no_more_time_than_its_node(caller: Caller) -> None:
    document = chain(delay(3600, timeout_seconds=1.2, on_error="continue"), output("{{ wait.error.code }}"))
    answer = await caller.start(await caller.deploy(document))
    assert answer.body["output"] == "node_timeout"
    assert 1.2 <= answer.body["duration_seconds"] < 1.2 + ON_TIME_SECONDS
