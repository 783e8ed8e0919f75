"""Webhooks of runs that were asked for together: each run is told by itself, once, with its own text."""

import asyncio
from typing import Any

import msgspec
import pytest

from libs.events.broker import Broker
from libs.events.log import EventLog
from libs.events.retellings import KIND as RETELLING
from libs.events.retellings import Retelling
from libs.events.subjects import RunKey, group_of
from libs.events.timers import due_now
from libs.runtime.ids import new_id
from tests.e2e.broker import broker_of
from tests.e2e.caller import Caller, until
from tests.e2e.flows import chain, output
from tests.e2e.target import Received, Target
from tests.notifier.receiving import body, greeting, message_id, verified, webhook

MANY = 24
EVERYTHING = ("flow_started", "flow_completed", "flow_error", "component_completed")

FRAIL = {"id": "odd", "type": "transform", "config": {"expression": "abs(in.text == 't3' && in.text || `1`)"}}
"""Fails for one text."""


async def deploy(caller: Caller, document: dict[str, Any], hooks: dict[str, tuple[str, ...]]) -> tuple[str, list[str]]:
    """Deploy a flow of which these addresses are told these events; the deployment, and the webhooks' secrets.

    The webhooks are there before the deployment, so that a notifier knows of them when the first of its runs ends.
    """
    flow = (await caller.call("POST", "/v1/flows", document)).body
    secrets = [(await webhook(caller, url, *events, flow_id=flow["id"]))["secret"] for url, events in hooks.items()]
    made = await caller.call("POST", f"/v1/flows/{flow['id']}/deployments", {})
    assert made.status == 201, made.body
    for gateway in (0, 1):
        await until(lambda at=gateway: caller._knows(made.body["id"], at))
    return made.body["id"], secrets


async def ask_many(caller: Caller, deployment: str) -> dict[str, dict[str, Any]]:
    """Ask for many runs at once, again if need be, until some have come together; all runs by id."""
    runs: dict[str, dict[str, Any]] = {}
    async with asyncio.timeout(20):
        while len({group_of(run_id) for run_id in runs}) == len(runs):
            texts = range(len(runs), len(runs) + MANY)
            answers = await asyncio.gather(*[caller.start(deployment, f"t{number}") for number in texts])
            assert {answer.status for answer in answers} == {200}
            runs |= {answer.run_id: answer.body for answer in answers}
    assert None not in {group_of(run_id) for run_id in runs}
    return runs


def outputs(received: list[Received]) -> dict[str, Any]:
    return {told["run_id"]: told["result"]["output"] for told in map(body, received)}


async def test_every_run_of_a_group_is_told(caller: Caller, web: Target) -> None:
    deployment, (secret,) = await deploy(caller, greeting(), {web.url("/ends"): ("flow_completed",)})
    runs = await ask_many(caller, deployment)
    received = await web.received("/ends", len(runs))
    assert {verified(each, secret)["event"] for each in received} == {"flow_completed"}
    assert outputs(received) == {run_id: run["output"] for run_id, run in runs.items()}
    assert len({message_id(each) for each in received}) == len(runs)
    assert {body(each)["timestamp"] for each in received} == {run["finished_at"] for run in runs.values()}


async def test_every_step_of_every_run_is_told(caller: Caller, web: Target) -> None:
    deployment, _ = await deploy(caller, greeting(), {web.url("/steps"): EVERYTHING})
    runs = await ask_many(caller, deployment)
    received = [body(each) for each in await web.received("/steps", 5 * len(runs))]
    for run_id in runs:
        of_run = sorted((each["event"], each.get("component") or "") for each in received if each["run_id"] == run_id)
        steps = [("component_completed", name) for name in ("hi", "in", "out")]
        assert of_run == [*steps, ("flow_completed", ""), ("flow_started", "")]


async def test_one_that_fails_is_told_as_failed_and_the_others_as_completed(caller: Caller, web: Target) -> None:
    document = chain(FRAIL, output("{{ in.text }}"))
    deployment, _ = await deploy(caller, document, {web.url("/mixed"): ("flow_completed", "flow_error")})
    runs = await ask_many(caller, deployment)
    received = [body(each) for each in await web.received("/mixed", len(runs))]
    (failed,) = [run for run in runs.values() if run["status"] == "failed"]
    (told,) = [each for each in received if each["event"] == "flow_error"]
    assert (told["run_id"], told["error"]) == (failed["id"], failed["error"])
    assert {each["run_id"] for each in received} == set(runs)


async def test_a_webhook_of_another_flow_hears_nothing_of_a_group(caller: Caller, web: Target) -> None:
    """Runs of two flows come at the same moment, and so together."""
    mine, _ = await deploy(caller, greeting(), {web.url("/mine"): ("flow_completed",)})
    other, _ = await deploy(caller, greeting(), {web.url("/other"): ("flow_completed",)})
    asked: dict[str, list[str]] = {mine: [], other: []}
    async with asyncio.timeout(20):
        while not set(map(group_of, asked[mine])) & set(map(group_of, asked[other])):
            answers = await asyncio.gather(*[caller.start((mine, other)[n % 2], f"t{n}") for n in range(MANY)])
            for answer in answers:
                asked[answer.body["deployment_id"]].append(answer.run_id)
    for path, wanted in (("/mine", asked[mine]), ("/other", asked[other])):
        received = await web.received(path, len(wanted))
        assert sorted(body(each)["run_id"] for each in received) == sorted(wanted)


async def test_a_callback_of_a_run_of_a_group_is_told_of_that_run(caller: Caller, web: Target) -> None:
    deployment = await caller.deploy(greeting())
    asked = [
        {"input": {"text": f"t{n}"}, **({"callback_url": web.url("/callback")} if n == 5 else {})} for n in range(MANY)
    ]
    path = f"/v1/deployments/{deployment}/runs"
    answers = await asyncio.gather(*[caller.call("POST", path, each) for each in asked])
    assert None not in {group_of(answer.run_id) for answer in answers}
    (received,) = await web.received("/callback")
    assert (body(received)["id"], body(received)["output"]) == (answers[5].run_id, "Hello, t5!")


async def test_what_happened_before_is_told_of_every_run_of_a_group(caller: Caller, web: Target) -> None:
    deployment, _ = await deploy(caller, greeting(), {web.url("/in-time"): ("flow_completed",)})
    runs = await ask_many(caller, deployment)
    await web.received("/in-time", len(runs))
    made = await webhook(caller, web.url("/before"), "flow_completed", deployment_id=deployment)
    since = min(run["created_at"] for run in runs.values())
    wish = {"since": since, "which": "all"}
    assert (await caller.call("POST", f"/v1/webhooks/{made['id']}/redeliver", wish)).status == 202
    received = await web.received("/before", len(runs))
    assert outputs(received) == {run_id: run["output"] for run_id, run in runs.items()}
    await caller.call("POST", f"/v1/webhooks/{made['id']}/redeliver", wish)
    twice = await web.received("/before", 2 * len(runs))
    assert {message_id(each) for each in twice} == {message_id(each) for each in received}


@pytest.fixture
async def marked(caller: Caller, web: Target) -> dict[str, dict[str, Any]]:
    """Runs of which every end was told at /told, by their ids."""
    deployment, _ = await deploy(caller, greeting(), {web.url("/told"): ("flow_completed",)})
    runs = await ask_many(caller, deployment)
    await web.received("/told", len(runs))
    return runs


async def _retell(broker: Broker, workspace: str, run_id: str, *, only: bool) -> None:
    """Have the message with the end of a run told again, of this run or of all in it."""
    log, run = EventLog(broker, 4), RunKey(workspace, run_id)
    end = await log.end(run)
    assert end is not None
    wish = Retelling(stream=log.stream(run), sequence=end.sequence, run_id=run_id if only else None)
    await due_now(broker, RETELLING, new_id("timer"), msgspec.json.encode(wish))


@pytest.mark.parametrize("only", [True, False])
async def test_a_retelling_is_of_the_run_that_it_names(
    caller: Caller, web: Target, marked: dict[str, dict[str, Any]], only: bool
) -> None:
    groups = [group_of(run_id) for run_id in marked]
    company = [run_id for run_id in marked if groups.count(group_of(run_id)) > 1]
    company = [run_id for run_id in company if group_of(run_id) == group_of(company[0])]
    last = (await caller.start(marked[company[0]]["deployment_id"], "last")).run_id
    await web.received("/told", len(marked) + 1)
    again = company[1:2] if only else company
    async with broker_of(caller.stack) as broker:
        workspace = await _workspace(caller)
        await _retell(broker, workspace, company[1], only=only)
        received = await web.received("/told", len(marked) + 1 + len(again))
        # Told after it, so that whatever else was told would have come.
        await _retell(broker, workspace, last, only=True)
        received = await web.received("/told", len(marked) + 2 + len(again))
    repeated = [body(each)["run_id"] for each in received[len(marked) + 1 :]]
    assert sorted(repeated[:-1]) == sorted(again)
    assert repeated[-1] == last
    first = {body(each)["run_id"]: message_id(each) for each in received[: len(marked) + 1]}
    assert all(message_id(each) == first[body(each)["run_id"]] for each in received)


async def _workspace(caller: Caller) -> str:
    entry = (await caller.call("GET", "/v1/audit/events?limit=1")).body["data"][0]
    workspace: str = entry["workspace"]
    return workspace
