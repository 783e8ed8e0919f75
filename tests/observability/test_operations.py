"""Health for people: who is there, what is wrong and what to do, and what could not be carried out, once more."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from libs.events.deliveries import KIND, Delivery, ToCallback, encode_delivery
from libs.events.log import EventLog
from libs.events.pull import Delivery as Message
from libs.events.run_events import Append, RequestedData, RunRequested
from libs.events.subjects import Kind, RunKey, due_subject
from libs.events.worker import Subscription, bury
from libs.runtime.failures import Terminal
from libs.runtime.ids import new_id
from tests.e2e.broker import broker_of
from tests.e2e.caller import Caller, calling, until
from tests.e2e.flows import chain, http, output, template
from tests.e2e.target import Prepared, target
from tests.stack import Stack

SERVICES = {"gateway", "auth", "executor", "notifier"}


@pytest.fixture
async def caller(stack: Stack) -> AsyncIterator[Caller]:
    async with calling(stack) as found:
        yield found


async def headgate(stack: Stack, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "cli", *words],
        env=stack.environment | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def letters(caller: Caller) -> list[dict[str, Any]]:
    answer = await caller.call("GET", "/v1/operations/dead-letters?limit=100")
    assert answer.status == 200, answer.body
    found: list[dict[str, Any]] = answer.body["data"]
    return found


async def letter_about(caller: Caller, run_id: str) -> dict[str, Any]:
    async def there() -> bool:
        return any(each["run_id"] == run_id for each in await letters(caller))

    await until(there)
    return next(each for each in await letters(caller) if each["run_id"] == run_id)


async def test_status_names_every_process_and_finds_nothing_wrong(stack: Stack, caller: Caller) -> None:
    async def well() -> bool:
        answer = await caller.call("GET", "/v1/operations/status")
        return answer.status == 200 and [f for f in answer.body["findings"] if "dead letter" not in f["what"]] == []

    await until(well)
    status = (await caller.call("GET", "/v1/operations/status")).body
    assert {each["service"] for each in status["services"]} == SERVICES
    assert all(each["missing"] == [] for each in status["services"])
    assert {"executors", "feeders"} <= {each["consumer"] for each in status["waiting"]}
    assert {each["stream"] for each in status["tables"] if each["table"] == "runs"} == {f"EVENTS_{n}" for n in range(4)}
    assert status["log_bytes"] > 0
    assert status["disk"]["free_bytes"] > 0

    shown = await headgate(stack, "status")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    for service in SERVICES:
        assert f"{service}-0\tready" in shown.stdout
    assert "GB free of" in shown.stdout


async def test_operations_are_the_root_admins_alone(stack: Stack, caller: Caller) -> None:
    made = await caller.call("POST", "/v1/workspaces", {"name": "tenant", "plan": "free"})
    theirs = {"Authorization": f"Bearer {made.body['admin_key']}"}
    reader = await caller.call("POST", "/v1/keys", {"name": "reader", "permissions": ["read"]})
    weak = {"Authorization": f"Bearer {reader.body['key']}"}
    calls = [
        ("GET", "/v1/operations/status"),
        ("GET", "/v1/operations/dead-letters"),
        ("GET", "/v1/operations/dead-letters/1"),
        ("POST", "/v1/operations/dead-letters/1/retry"),
        ("DELETE", "/v1/operations/dead-letters/1"),
    ]
    async with calling(stack) as anybody:
        for method, path in calls:
            for headers in (theirs, weak):
                answer = await anybody.call(method, path, headers=headers)
                assert (answer.status, answer.body["code"]) == (403, "forbidden"), path


@pytest.mark.parametrize("letter", ["0", "999999", "9" * 40, "x", "-1", "%2e%2e"])
async def test_a_letter_that_is_not_there_is_not_found(caller: Caller, letter: str) -> None:
    for method, path in (("GET", ""), ("POST", "/retry"), ("DELETE", "")):
        assert (await caller.call(method, f"/v1/operations/dead-letters/{letter}{path}")).status == 404


@pytest.mark.parametrize("cursor", ["x", "-1", "9" * 40, ""])
async def test_a_cursor_that_is_none_is_bad_input(caller: Caller, cursor: str) -> None:
    assert (await caller.call("GET", f"/v1/operations/dead-letters?cursor={cursor}")).status == 400


async def test_a_run_that_was_given_up_is_carried_out_again_and_repeats_nothing(stack: Stack, caller: Caller) -> None:
    """The version that the run is of does not exist until after it was given up: executors cannot carry it out."""
    async with target() as web, broker_of(stack) as broker:
        nodes = (http("effect", web.url("/effect")), template("hi", "{{ effect.status }}"), output("{{ hi.text }}"))
        document = chain(*nodes)
        deployment = await caller.deploy(document)
        flow = (await caller.call("GET", f"/v1/deployments/{deployment}")).body["flow_id"]
        run = RunKey((await _workspace(caller)), new_id("run"))
        data = RequestedData(flow_id=flow, deployment_id=deployment, version=2, input={"text": "x"}, mode="async")
        asked = RunRequested(seq=1, run_id=run.run_id, at=datetime.now(UTC), data=data)
        log = EventLog(broker, 4)
        await log.append(run, Kind.REQUESTED, Append(by="test", events=[asked]), after=0)

        letter = await letter_about(caller, run.run_id)
        assert (letter["consumer"], letter["attempts"]) == ("executors", 1)
        assert "flow version does not exist" in letter["reason"]
        assert (await caller.call("GET", f"/v1/runs/{run.run_id}")).body["status"] == "failed"

        listed = await headgate(stack, "dead-letters", "list", "--json")
        assert letter["id"] in [each["id"] for each in json.loads(listed.stdout)["data"]]
        shown = json.loads((await headgate(stack, "dead-letters", "show", letter["id"], "--json")).stdout)
        assert shown["payload"]["events"][0]["data"]["input"] == {"text": "x"}

        assert (await caller.call("PUT", f"/v1/flows/{flow}", document)).status == 200
        retried = await headgate(stack, "dead-letters", "retry", letter["id"], "--json")
        assert retried.returncode == 0, retried.stderr
        again = json.loads(retried.stdout)["run_id"]

        async def completed() -> bool:
            return bool((await caller.call("GET", f"/v1/runs/{again}")).body.get("status") == "completed")

        await until(completed)
        assert (await caller.call("GET", f"/v1/runs/{again}")).body["output"] == "200"
        assert len(web.to("/effect")) == 1
        assert letter["id"] not in [each["id"] for each in await letters(caller)]
        assert (await caller.call("POST", f"/v1/operations/dead-letters/{letter['id']}/retry")).status == 404


async def test_a_delivery_that_was_given_up_is_made_again(stack: Stack, caller: Caller) -> None:
    async with target() as receiver, broker_of(stack) as broker:
        deployment = await caller.deploy(chain(template("hi", "x"), output("{{ hi.text }}")))
        run_id = (await caller.start(deployment)).run_id
        events = (await caller.call("GET", f"/v1/runs/{run_id}/events")).body["data"]
        delivery = Delivery(
            id=new_id("dlv"),
            workspace=await _workspace(caller),
            target=ToCallback(url=receiver.url("/callback")),
            event="run_ended",
            created_at=datetime.now(UTC),
            deployment_id=deployment,
            run_id=run_id,
            seq=events[-1]["seq"],
        )
        await _bury(broker, "notifier-due", due_subject(KIND, delivery.id), encode_delivery(delivery), "TIMERS", 1)
        letter = await letter_about(caller, run_id)
        assert (await caller.call("POST", f"/v1/operations/dead-letters/{letter['id']}/retry")).status == 202
        (received,) = await receiver.received("/callback")
        assert json.loads(received.body)["id"] == run_id


async def test_a_run_that_waited_when_it_was_given_up_goes_on_as_a_new_one(stack: Stack, caller: Caller) -> None:
    """One that has completed all the same does not."""
    async with target() as web, broker_of(stack) as broker:
        retry = {"max_attempts": 1}
        web.answer("/second", [Prepared(status=500)])
        nodes = (http("first", web.url("/first")), http("second", web.url("/second"), retry=retry), output("done"))
        deployment = await caller.deploy(chain(*nodes))
        failed = (await caller.start(deployment)).body
        completed = (await caller.start(deployment)).body
        assert (failed["status"], completed["status"]) == ("failed", "completed")
        for run, status in ((failed, 202), (completed, 409)):
            wake = json.dumps({"workspace": await _workspace(caller), "run_id": run["id"]}).encode()
            await _bury(broker, "executors", due_subject("run", run["id"]), wake, "TIMERS", 1)
            letter = await letter_about(caller, run["id"])
            answer = await caller.call("POST", f"/v1/operations/dead-letters/{letter['id']}/retry")
            assert answer.status == status, answer.body
            if status == 202:
                again = answer.body["run_id"]

        async def ended() -> bool:
            return bool((await caller.call("GET", f"/v1/runs/{again}")).body.get("status") == "completed")

        await until(ended)
        assert len(web.to("/first")) == 2
        assert len(web.to("/second")) == 3


async def test_an_append_that_could_not_be_told_is_told(stack: Stack, caller: Caller) -> None:
    async with target() as receiver, broker_of(stack) as broker:
        deployment = await caller.deploy(chain(template("hi", "x"), output("{{ hi.text }}")))
        run = RunKey(await _workspace(caller), (await caller.start(deployment)).run_id)
        wanted = {"url": receiver.url("/late"), "events": ["flow_completed"], "deployment_id": deployment}
        made = await caller.call("POST", "/v1/webhooks", wanted)
        assert made.status == 201, made.body
        log = EventLog(broker, 4)
        end = await log.end(run)
        assert end is not None
        await _bury(broker, "notifier-ends", end.subject, end.payload, log.stream(run), end.sequence)
        letter = await letter_about(caller, run.run_id)

        async def told() -> bool:
            # The notifier hears of a webhook within a moment; until then there is nobody to tell.
            await caller.call("POST", f"/v1/operations/dead-letters/{letter['id']}/retry")
            if receiver.to("/late"):
                return True
            await _bury(broker, "notifier-ends", end.subject, end.payload, log.stream(run), end.sequence)
            letter["id"] = (await letter_about(caller, run.run_id))["id"]
            return False

        await until(told)
        await caller.call("DELETE", f"/v1/webhooks/{made.body['id']}")
        for each in await letters(caller):
            await caller.call("POST", f"/v1/operations/dead-letters/{each['id']}/retry")


async def test_what_is_in_anothers_letter_is_not_shown(stack: Stack, caller: Caller) -> None:
    async with broker_of(stack) as broker:
        run = RunKey(new_id("ws"), new_id("run"))
        subject = EventLog(broker, 4).subject(run, Kind.HELD)
        await _bury(broker, "feeders", subject, b'{"input": "theirs alone"}', "EVENTS_0", 1)
        letter = await letter_about(caller, run.run_id)
        answer = await caller.call("GET", f"/v1/operations/dead-letters/{letter['id']}")
        assert (answer.body["workspace"], answer.body["payload"]) == (run.workspace, None)
        assert "theirs alone" not in json.dumps(answer.body)
        refused = await caller.call("POST", f"/v1/operations/dead-letters/{letter['id']}/retry")
        assert (refused.status, refused.body["code"]) == (409, "conflict")
        discarded = await headgate(stack, "dead-letters", "discard", letter["id"], "--json")
        assert json.loads(discarded.stdout) == {"discarded": letter["id"]}
        assert letter["id"] not in [each["id"] for each in await letters(caller)]


async def _workspace(caller: Caller) -> str:
    """The root's, as a run's subject in the log names it."""
    async with broker_of(caller.stack) as broker:
        info = await broker.request(
            "$JS.API.STREAM.INFO.MANAGEMENT", b'{"subjects_filter": "mgt.*.workspace.*"}', timeout=5
        )
        subjects = json.loads(info.data)["state"]["subjects"]
        for subject in subjects:
            stored = await broker.request(f"$JS.API.DIRECT.GET.MANAGEMENT.{subject}")
            state = json.loads(stored.data)["state"]
            if state.get("root"):
                return str(state["id"])
    raise AssertionError("there is a root workspace")


async def _bury(broker: Any, consumer: str, subject: str, payload: bytes, stream: str, sequence: int) -> None:
    """As the worker of `consumer` gives a message up."""
    subscription = Subscription(stream=stream, durable=consumer, filter=subject, lease_seconds=10)
    message = Message(
        subject=subject, payload=payload, sequence=sequence, consumer_sequence=1, attempt=5, pending=0, reply=""
    )
    await bury(broker, subscription, message, Terminal("node_failed", "for this test"))
