"""Groups and what is kept beside the log: dead letters, one a run, each seen to by itself; and traces."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from libs.events.groups import encode_group, entry_of
from libs.events.log import EventLog
from libs.events.run_events import Append, RequestedData, RunRequested, encode_append
from libs.events.subjects import Kind, RunKey
from tests.e2e.broker import broker_of
from tests.e2e.caller import Caller, calling
from tests.e2e.flows import chain, output, template
from tests.e2e.target import target
from tests.events.grouped import members
from tests.observability.test_operations import _bury, _workspace, letter_about, letters
from tests.stack import Stack

MISSING = 2
"""The version that a flow of one version does not have yet: executors cannot carry out what is of it."""


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[Caller]:
    async with calling(stack) as found:
        yield found


@pytest.fixture
async def log(stack: Stack) -> AsyncIterator[EventLog]:
    """The stack's log."""
    async with broker_of(stack) as broker:
        yield EventLog(broker, 4)


def greeting() -> dict[str, Any]:
    return chain(template("hi", "Hello, {{ in.text }}!"), output("{{ hi.text }}"))


async def ask_together(caller: Caller, log: EventLog, deployment: str, versions: Sequence[int]) -> list[RunKey]:
    """Ask for runs of one group past the gateway, each of a version; their flow is the deployment's."""
    flow = (await caller.call("GET", f"/v1/deployments/{deployment}")).body["flow_id"]
    runs = members(await _workspace(caller), len(versions))
    appends = {}
    for number, (run, version) in enumerate(zip(runs, versions, strict=True)):
        given = {"text": f"t{number}"}
        data = RequestedData(flow_id=flow, deployment_id=deployment, version=version, input=given, mode="async")
        asked = RunRequested(seq=1, run_id=run.run_id, at=datetime.now(UTC), data=data)
        appends[run.run_id] = encode_append(Append(by="test", events=[asked]))
    await log.append_group(entry_of(runs[0]), Kind.REQUESTED, encode_group(appends), after=0)
    return runs


async def test_the_runs_of_a_group_that_cannot_be_carried_out_have_a_letter_each(caller: Caller, log: EventLog) -> None:
    document = greeting()
    deployment = await caller.deploy(document)
    runs = await ask_together(caller, log, deployment, [1, MISSING, 1, MISSING])
    given_up = [await letter_about(caller, run.run_id) for run in (runs[1], runs[3])]
    for number, letter in zip((1, 3), given_up, strict=True):
        assert (letter["consumer"], letter["attempts"]) == ("executors", 1)
        assert letter["subject"] == log.subject(runs[number], Kind.REQUESTED)
        assert "flow version does not exist" in letter["reason"]
        shown = (await caller.call("GET", f"/v1/operations/dead-letters/{letter['id']}")).body
        assert [event["data"]["input"] for event in shown["payload"]["events"]] == [{"text": f"t{number}"}]
    statuses = [(await caller.ended(run.run_id))["status"] for run in runs]
    assert statuses == ["completed", "failed", "completed", "failed"]
    about = [each["run_id"] for each in await letters(caller)]
    assert [about.count(run.run_id) for run in runs] == [0, 1, 0, 1]

    flow = (await caller.call("GET", f"/v1/deployments/{deployment}")).body["flow_id"]
    assert (await caller.call("PUT", f"/v1/flows/{flow}", document)).status == 200
    retried = await caller.call("POST", f"/v1/operations/dead-letters/{given_up[0]['id']}/retry")
    assert retried.status == 202, retried.body
    again = await caller.ended(retried.body["run_id"])
    assert again["id"] not in {run.run_id for run in runs}
    assert (again["status"], again["output"]) == ("completed", "Hello, t1!")
    assert (await caller.run(runs[1].run_id))["status"] == "failed"
    left = [each["run_id"] for each in await letters(caller)]
    assert (runs[1].run_id in left, runs[3].run_id in left) == (False, True)
    assert (await caller.call("DELETE", f"/v1/operations/dead-letters/{given_up[1]['id']}")).status == 204


async def test_a_run_that_completed_with_its_group_is_not_carried_out_again(caller: Caller, log: EventLog) -> None:
    deployment = await caller.deploy(greeting())
    runs = await ask_together(caller, log, deployment, [1, 1])
    for run in runs:
        await caller.ended(run.run_id)
    first = await log.first(runs[0])
    assert first is not None
    await _bury(log.broker, "executors", first.subject, first.payload, log.stream(runs[0]), first.sequence)
    letter = await letter_about(caller, runs[0].run_id)
    refused = await caller.call("POST", f"/v1/operations/dead-letters/{letter['id']}/retry")
    assert (refused.status, refused.body["code"]) == (409, "conflict")
    assert (await caller.call("DELETE", f"/v1/operations/dead-letters/{letter['id']}")).status == 204


async def test_an_end_that_could_not_be_told_is_told_of_its_run_alone(caller: Caller, log: EventLog) -> None:
    async with target() as receiver:
        flow = (await caller.call("POST", "/v1/flows", greeting())).body["id"]
        wanted = {"url": receiver.url("/ends"), "events": ["flow_completed"], "flow_id": flow}
        made = await caller.call("POST", "/v1/webhooks", wanted)
        assert made.status == 201, made.body
        deployed = await caller.call("POST", f"/v1/flows/{flow}/deployments", {})
        runs = await ask_together(caller, log, deployed.body["id"], [1, 1, 1])
        await receiver.received("/ends", 3)
        for number, run in enumerate((runs[1], runs[0]), 4):
            end = await log.end(run)
            assert end is not None
            await _bury(log.broker, "notifier-ends", end.subject, end.payload, log.stream(run), end.sequence)
            letter = await letter_about(caller, run.run_id)
            assert (await caller.call("POST", f"/v1/operations/dead-letters/{letter['id']}/retry")).status == 202
            received = await receiver.received("/ends", number)
        told = [json.loads(each.body)["run_id"] for each in received]
        assert sorted(told[:3]) == [run.run_id for run in runs]
        assert told[3:] == [runs[1].run_id, runs[0].run_id]
        await caller.call("DELETE", f"/v1/webhooks/{made.body['id']}")


@pytest.mark.parametrize(("flags", "length"), [("01", 30), ("00", 32)])
async def test_a_run_whose_trace_is_recorded_goes_by_itself(caller: Caller, flags: str, length: int) -> None:
    """Its spans are of its own appends; one whose caller records nothing goes with the others."""
    deployment = await caller.deploy(greeting())
    headers = {"traceparent": f"00-{'1a' * 16}-{'2b' * 8}-{flags}"}
    path = f"/v1/deployments/{deployment}/runs"
    asked = [caller.call("POST", path, {"input": {"text": f"t{n}"}}, headers=headers) for n in range(6)]
    answers = await asyncio.gather(*asked)
    assert [answer.body["output"] for answer in answers] == [f"Hello, t{n}!" for n in range(6)]
    assert {len(answer.run_id) for answer in answers} == {length}
