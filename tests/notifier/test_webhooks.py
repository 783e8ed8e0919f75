"""Webhooks over the whole stack: what arrives, when it is tried again, and what people see of it."""

import asyncio
from typing import Any

import pytest
from headgate_client import InvalidWebhook, verify_webhook

from tests.e2e.caller import Caller, until
from tests.e2e.flows import chain, http, output
from tests.e2e.target import Prepared, Target
from tests.notifier.conftest import SCHEDULE
from tests.notifier.receiving import body, delivery, greeting, message_id, verified, webhook

EVERYTHING = ("flow_started", "flow_completed", "flow_error", "component_completed")


async def test_c23_to_c27_each_event_arrives_signed_with_the_seed_s_body(caller: Caller, web: Target) -> None:
    """C23, C24, C25, C27."""
    deployment = await caller.deploy(greeting())
    made = await webhook(caller, web.url("/all"), *EVERYTHING, deployment_id=deployment)
    assert made["secret"].startswith("whsec_")
    start = {"input": {"text": "Ada"}, "session_id": "abc123"}
    run = (await caller.call("POST", f"/v1/deployments/{deployment}/runs", start)).body
    received = await web.received("/all", 5)
    bodies = [verified(each, made["secret"]) for each in received]
    assert len({message_id(each) for each in received}) == 5
    assert {each["run_id"] for each in bodies} == {run["id"]}
    told = {(each["event"], each.get("component")): each for each in bodies}
    assert set(told) == {
        ("flow_started", None),
        ("component_completed", "in"),
        ("component_completed", "hi"),
        ("component_completed", "out"),
        ("flow_completed", None),
    }
    completed = told["flow_completed", None]
    assert completed == {
        "event": "flow_completed",
        "flow_id": run["flow_id"],
        "session_id": "abc123",
        "result": {"output": "Hello, Ada!"},
        "timestamp": run["finished_at"],
        "run_id": run["id"],
        "deployment_id": deployment,
    }
    assert told["component_completed", "hi"]["result"] == {"output": {"text": "Hello, Ada!"}}


async def test_c26_a_failed_and_a_cancelled_run_are_told_with_their_error(caller: Caller, web: Target) -> None:
    web.answer("/api", [Prepared(status=500)])
    web.hold("/slow")
    failing = await caller.deploy(chain(http("call", web.url("/api")), output("x")))
    waiting = await caller.deploy(chain(http("call", web.url("/slow")), output("x")))
    made = await webhook(caller, web.url("/errors"), "flow_error")
    run = (await caller.start(failing)).body
    (first,) = await web.received("/errors")
    assert verified(first, made["secret"])["error"] == run["error"]
    assert body(first)["result"] == {"output": None}
    cancelled = await caller.submit(waiting)
    await web.received("/slow")
    await caller.cancel(cancelled)
    _, second = await web.received("/errors", 2)
    assert (body(second)["run_id"], body(second)["error"]["code"]) == (cancelled, "cancelled")
    await caller.call("DELETE", f"/v1/webhooks/{made['id']}")


async def test_a_webhook_hears_only_of_what_it_asked_for(caller: Caller, web: Target) -> None:
    mine, other = await caller.deploy(greeting()), await caller.deploy(greeting())
    flow_id = (await caller.call("GET", f"/v1/deployments/{mine}")).body["flow_id"]
    await webhook(caller, web.url("/by-flow"), "flow_completed", flow_id=flow_id)
    await webhook(caller, web.url("/by-deployment"), "flow_completed", deployment_id=other)
    runs = [(await caller.start(deployment)).body["id"] for deployment in (mine, other)]
    (of_flow,), (of_deployment,) = await web.received("/by-flow"), await web.received("/by-deployment")
    assert [body(of_flow)["run_id"], body(of_deployment)["run_id"]] == runs
    missing = {"url": web.url("/"), "events": ["flow_completed"], "flow_id": "flow_nobody"}
    assert (await caller.call("POST", "/v1/webhooks", missing)).status == 404


async def test_an_attempt_that_fails_is_made_again_with_one_id_and_one_body(caller: Caller, web: Target) -> None:
    deployment = await caller.deploy(greeting())
    web.answer("/flaky", [Prepared(status=500, body=b"not now"), Prepared(status=503)])
    made = await webhook(caller, web.url("/flaky"), "flow_completed", deployment_id=deployment)
    await caller.start(deployment)
    received = await web.received("/flaky", 3)
    assert len({message_id(each) for each in received}) == 1
    assert len({each.body for each in received}) == 1
    for each in received:
        verified(each, made["secret"])
    shown = await delivery(caller, made["id"], "delivered")
    assert (shown["attempt_count"], shown["next_attempt_at"]) == (3, None)
    last, second, first = shown["attempts"]
    assert [each["status"] for each in (first, second, last)] == [500, 503, 200]
    assert (first["answer"], first["error"]) == ("not now", "it answered 500")
    assert all(each["latency_seconds"] > 0 for each in shown["attempts"])
    assert [each["outcome"] for each in (first, second, last)] == ["failed", "failed", "delivered"]


async def test_what_is_given_up_can_be_sent_again_with_its_id_and_its_body(caller: Caller, web: Target) -> None:
    deployment = await caller.deploy(greeting())
    web.answer("/down", [Prepared(status=500)] * len(SCHEDULE))
    made = await webhook(caller, web.url("/down"), "flow_completed", deployment_id=deployment)
    await caller.start(deployment)
    shown = await delivery(caller, made["id"], "failed")
    assert shown["attempt_count"] == len(SCHEDULE)
    again = await caller.call("POST", f"/v1/deliveries/{shown['id']}/redeliver", gateway=1)
    assert again.status == 202
    received = await web.received("/down", len(SCHEDULE) + 1)
    assert {message_id(each) for each in received} == {shown["id"]}
    assert len({each.body for each in received}) == 1
    assert (await delivery(caller, made["id"], "delivered"))["id"] == shown["id"]


async def test_a_redirect_is_a_failure_and_never_followed(caller: Caller, web: Target) -> None:
    deployment = await caller.deploy(greeting())
    web.answer("/moved", [Prepared(status=301, headers={"Location": web.url("/elsewhere")})])
    made = await webhook(caller, web.url("/moved"), "flow_completed", deployment_id=deployment)
    await caller.start(deployment)
    await web.received("/moved", 2)
    shown = await delivery(caller, made["id"], "delivered")
    assert [each["status"] for each in shown["attempts"]] == [200, 301]
    assert web.to("/elsewhere") == []


async def test_a_receiver_that_asks_for_time_is_given_it(caller: Caller, web: Target) -> None:
    deployment = await caller.deploy(greeting())
    web.answer("/busy", [Prepared(status=429, headers={"Retry-After": "2"})])
    await webhook(caller, web.url("/busy"), "flow_completed", deployment_id=deployment)
    await caller.start(deployment)
    first, second = await web.received("/busy", 2)
    assert second.began - first.began >= 1.9


async def test_410_takes_a_webhook_out_of_service_until_its_owner_puts_it_back(caller: Caller, web: Target) -> None:
    deployment = await caller.deploy(greeting())
    web.answer("/gone", [Prepared(status=410)])
    made = await webhook(caller, web.url("/gone"), "flow_completed", deployment_id=deployment)
    await caller.start(deployment)

    async def is_out() -> bool:
        return not (await caller.call("GET", f"/v1/webhooks/{made['id']}", gateway=1)).body["active"]

    await until(is_out)
    shown = (await caller.call("GET", f"/v1/webhooks/{made['id']}")).body
    assert shown["disabled_reason"] == "gone"
    assert (await delivery(caller, made["id"], "failed"))["attempt_count"] == 1
    told = (await caller.call("GET", "/v1/audit/events?type=webhook.disabled")).body["data"]
    assert [each["state"]["disabled_reason"] for each in told if each["entity_id"] == made["id"]] == ["gone"]
    await caller.start(deployment)
    back = await caller.call("PATCH", f"/v1/webhooks/{made['id']}", {"active": True})
    assert (back.body["active"], back.body["disabled_reason"]) == (True, None)
    await caller.start(deployment, "back")
    _, second = await web.received("/gone", 2)
    assert body(second)["result"] == {"output": "Hello, back!"}


async def test_for_a_day_after_a_rotation_both_secrets_sign(caller: Caller, web: Target) -> None:
    deployment = await caller.deploy(greeting())
    made = await webhook(caller, web.url("/rotated"), "flow_completed", deployment_id=deployment)
    rotated = (await caller.call("POST", f"/v1/webhooks/{made['id']}/rotate-secret")).body
    assert rotated["secret"] != made["secret"]
    assert "secret" not in (await caller.call("GET", f"/v1/webhooks/{made['id']}")).body
    await caller.call("POST", f"/v1/webhooks/{made['id']}/test")
    (received,) = await web.received("/rotated")
    assert verified(received, rotated["secret"]) == verified(received, made["secret"])
    other = await webhook(caller, web.url("/other"), "flow_completed")
    with pytest.raises(InvalidWebhook):
        verify_webhook(received.body, received.headers, other["secret"])


async def test_a_test_is_sent_at_once_and_seen(caller: Caller, web: Target) -> None:
    made = await webhook(caller, web.url("/test"), "flow_completed")
    answer = await caller.call("POST", f"/v1/webhooks/{made['id']}/test", gateway=1)
    assert answer.status == 202
    (received,) = await web.received("/test")
    assert message_id(received) == answer.body["delivery_id"]
    assert verified(received, made["secret"])["event"] == "test"
    assert (await delivery(caller, made["id"], "delivered"))["event"] == "test"


async def test_a_new_webhook_can_ask_for_what_happened_before_it(caller: Caller, web: Target) -> None:
    deployment = await caller.deploy(greeting())
    await webhook(caller, web.url("/in-time"), "flow_completed", deployment_id=deployment)
    runs = {(await caller.start(deployment, str(number))).run_id for number in range(5)}
    await web.received("/in-time", 5)
    made = await webhook(caller, web.url("/late"), "flow_completed", deployment_id=deployment)
    since = (await caller.run(min(runs)))["created_at"]
    assert web.to("/late") == []
    again = await caller.call("POST", f"/v1/webhooks/{made['id']}/redeliver", {"since": since, "which": "all"})
    assert again.status == 202
    received = await web.received("/late", 5)
    assert {body(each)["run_id"] for each in received} == runs
    await caller.call("POST", f"/v1/webhooks/{made['id']}/redeliver", {"since": since, "which": "all"})
    twice = await web.received("/late", 10)
    assert len({message_id(each) for each in twice}) == 5
    backwards = {"since": since, "until": "2020-01-01T00:00:00Z"}
    assert (await caller.call("POST", f"/v1/webhooks/{made['id']}/redeliver", backwards)).status == 400


async def test_what_failed_in_a_span_of_time_is_sent_again(caller: Caller, web: Target) -> None:
    deployment = await caller.deploy(greeting())
    web.answer("/outage", [Prepared(status=500)] * len(SCHEDULE))
    made = await webhook(caller, web.url("/outage"), "flow_completed", deployment_id=deployment)
    run = (await caller.start(deployment)).body
    failed = await delivery(caller, made["id"], "failed")
    await caller.start(deployment, "fine")
    await delivery(caller, made["id"], "delivered")
    again = await caller.call("POST", f"/v1/webhooks/{made['id']}/redeliver", {"since": run["created_at"]})
    assert again.body == {"deliveries": 1}
    received = await web.received("/outage", len(SCHEDULE) + 2)
    assert message_id(received[-1]) == failed["id"]


async def test_a_receiver_that_hangs_and_many_that_fail_delay_nobody_else(caller: Caller, web: Target) -> None:
    """While they hang and fail, everything for the others has arrived."""
    deployment = await caller.deploy(greeting())
    web.hold("/hangs")
    for number in range(20):
        web.answer(f"/fails/{number}", [Prepared(status=500)] * 100)
        await webhook(caller, web.url(f"/fails/{number}"), "flow_completed", deployment_id=deployment)
    await webhook(caller, web.url("/hangs"), "flow_completed", deployment_id=deployment)
    await webhook(caller, web.url("/well"), "flow_completed", deployment_id=deployment)
    runs = {(await caller.start(deployment, str(number))).run_id for number in range(30)}
    received = await web.received("/well", 30)
    assert {body(each)["run_id"] for each in received} == runs
    hanging = web.to("/hangs")
    assert all(each.ended is None or each.cut for each in hanging)
    assert len(hanging) < 30, "a receiver that hangs is not asked for everything at once"
    web.release("/hangs")
    listed = await caller.call("GET", "/v1/webhooks?limit=100")
    for each in listed.body["data"]:
        await caller.call("DELETE", f"/v1/webhooks/{each['id']}")


async def test_webhooks_are_listed_changed_and_deleted(caller: Caller, web: Target) -> None:
    made = await webhook(caller, web.url("/first"), "flow_completed", description="mine")
    changed = await caller.call(
        "PATCH", f"/v1/webhooks/{made['id']}", {"url": web.url("/second"), "events": ["flow_error"]}
    )
    assert (changed.body["url"], changed.body["events"]) == (web.url("/second"), ["flow_error"])
    listed = (await caller.call("GET", "/v1/webhooks?limit=100")).body["data"]
    assert made["id"] in [each["id"] for each in listed]
    assert all("secret" not in each for each in listed)
    assert (await caller.call("DELETE", f"/v1/webhooks/{made['id']}")).status == 204
    assert (await caller.call("GET", f"/v1/webhooks/{made['id']}")).status == 404
    assert (await caller.call("POST", f"/v1/webhooks/{made['id']}/test")).status == 404


@pytest.mark.parametrize(
    ("wish", "code", "pointer"),
    [
        ({"url": "http://10.0.0.1/", "events": ["flow_completed"]}, "egress_refused", "/url"),
        ({"url": "http://[fd00:ec2::254]/", "events": ["flow_completed"]}, "egress_refused", "/url"),
        ({"url": "http://user:password@example.org/", "events": ["flow_completed"]}, "egress_refused", "/url"),
        ({"url": "file:///etc/passwd", "events": ["flow_completed"]}, "egress_refused", "/url"),
        ({"url": "https://example.org/", "events": []}, "invalid_input", "/events"),
        ({"url": "https://example.org/", "events": ["run.completed"]}, "invalid_input", "/events/0"),
        ({"url": "https://example.org/"}, "invalid_input", "/events"),
    ],
)
async def test_a_webhook_that_cannot_be_told_is_refused(
    caller: Caller, wish: dict[str, Any], code: str, pointer: str
) -> None:
    refused = await caller.call("POST", "/v1/webhooks", wish)
    assert (refused.status, refused.body["code"]) == (400, code)
    assert refused.body["errors"][0]["pointer"] == pointer


async def test_another_workspace_is_told_nothing(caller: Caller, web: Target) -> None:
    made = await caller.call("POST", "/v1/workspaces", {"name": "theirs", "plan": "free"})
    theirs = {"Authorization": f"Bearer {made.body['admin_key']}"}
    wish = {"url": web.url("/theirs"), "events": list(EVERYTHING)}
    foreign = await caller.call("POST", "/v1/webhooks", wish, headers=theirs)
    assert foreign.status == 201
    deployment = await caller.deploy(greeting())
    await webhook(caller, web.url("/mine"), "flow_completed", deployment_id=deployment)
    await asyncio.gather(*[caller.start(deployment) for _ in range(3)])
    await web.received("/mine", 3)
    assert web.to("/theirs") == []
    deliveries = await caller.call("GET", "/v1/deliveries", headers=theirs)
    assert deliveries.body["data"] == []
