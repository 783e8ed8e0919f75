"""Callbacks: the run object, wherever the run, its deployment or its flow's output want it."""

from typing import Any

from tests.e2e.caller import Caller, until
from tests.e2e.flows import chain, http, output, template
from tests.e2e.target import Prepared, Target
from tests.notifier.receiving import body, greeting, message_id, verified, webhook


def calling_back(url: str, **more: Any) -> dict[str, Any]:
    """A flow whose output is posted to `url`."""
    ends = {"id": "out", "type": "api_output", "config": {"value": "{{ hi.text }}", "callback_url": url, **more}}
    return chain(template("hi", "Hello, {{ in.text }}!"), ends)


async def deployed(caller: Caller, document: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The deployment as it is answered when it is made, its secrets with it."""
    flow = (await caller.call("POST", "/v1/flows", document)).body
    made = await caller.call("POST", f"/v1/flows/{flow['id']}/deployments", options)
    assert made.status == 201, made.body
    found: dict[str, Any] = made.body
    return found


async def test_e13_the_run_the_deployment_and_the_output_are_each_called_with_the_run(
    caller: Caller, web: Target
) -> None:
    made = await deployed(caller, calling_back(web.url("/of/{{ in.text }}")), callback_url=web.url("/of-deployment"))
    start = {"input": {"text": "Ada"}, "callback_url": web.url("/of-run")}
    run = (await caller.call("POST", f"/v1/deployments/{made['id']}/runs", start)).body
    ids = set()
    for path in ("/of/Ada", "/of-deployment", "/of-run"):
        (received,) = await web.received(path)
        assert verified(received, made["signing_secret"]) == run
        ids.add(message_id(received))
    assert len(ids) == 3


async def test_a_failed_and_a_cancelled_run_call_back_too(caller: Caller, web: Target) -> None:
    web.answer("/api", [Prepared(status=500)])
    web.hold("/slow")
    for path in ("/api", "/slow"):
        made = await deployed(caller, chain(http("call", web.url(path)), output("x")))
        start = {"mode": "async", "callback_url": web.url(f"/after{path}")}
        run_id = (await caller.call("POST", f"/v1/deployments/{made['id']}/runs", start)).run_id
        if path == "/slow":
            await web.received("/slow")
            await caller.cancel(run_id)
        (received,) = await web.received(f"/after{path}")
        told = verified(received, made["signing_secret"])
        assert told == await caller.run(run_id)
        assert told["status"] == ("failed" if path == "/api" else "cancelled")


async def test_a_callback_that_fails_is_made_again_and_seen(caller: Caller, web: Target) -> None:
    made = await deployed(caller, greeting())
    web.answer("/cb", [Prepared(status=502)])
    start = {"callback_url": web.url("/cb")}
    run = (await caller.call("POST", f"/v1/deployments/{made['id']}/runs", start)).body
    first, second = await web.received("/cb", 2)
    assert (message_id(first), first.body) == (message_id(second), second.body)

    async def is_seen() -> bool:
        listed = await caller.call("GET", f"/v1/deliveries?channel=callback&run_id={run['id']}")
        return [each["status"] for each in listed.body["data"]] == ["delivered"]

    await until(is_seen)
    shown = (await caller.call("GET", f"/v1/deliveries/{message_id(first)}")).body
    assert (shown["target"], shown["attempt_count"]) == (web.url("/cb"), 2)


async def test_an_address_that_is_not_called_is_refused_before_the_run(caller: Caller, web: Target) -> None:
    made = await deployed(caller, greeting())
    start = {"callback_url": "http://169.254.169.254/latest/meta-data"}
    refused = await caller.call("POST", f"/v1/deployments/{made['id']}/runs", start)
    assert (refused.status, refused.body["code"]) == (400, "egress_refused")
    assert refused.body["errors"][0]["pointer"] == "/callback_url"
    named = await deployed(caller, calling_back("http://{{ in.text }}/"))
    failed = await caller.start(named["id"], "10.0.0.1")
    assert (failed.body["status"], failed.body["error"]["code"]) == ("failed", "egress_refused")


async def test_an_output_s_address_holds_no_secret(caller: Caller, web: Target) -> None:
    refused = await caller.call("POST", "/v1/flows", calling_back(web.url("/{{ secret.token }}")))
    assert refused.status == 400
    assert [fault["pointer"] for fault in refused.body["errors"]] == ["/nodes/2/config/callback_url"]


async def test_a_deployment_has_webhooks_of_its_own(caller: Caller, web: Target) -> None:
    """C22."""
    wish = [{"url": web.url("/own"), "events": ["flow_completed"]}, {"url": web.url("/old")}]
    made = await deployed(caller, greeting(), webhooks=wish)
    own, old = made["webhooks"]
    assert old["events"] == ["flow_completed", "flow_error"]
    other = await deployed(caller, greeting())
    await caller.start(other["id"])
    run = await caller.start(made["id"])
    (received,) = await web.received("/own")
    assert verified(received, own["secret"])["run_id"] == run.run_id
    path = f"/v1/deployments/{made['id']}"
    kept = [{"url": web.url("/own"), "events": ["flow_error"]}]
    changed = (await caller.call("PATCH", path, {"webhooks": kept})).body
    assert [(each["id"], each["events"]) for each in changed["webhooks"]] == [(own["id"], ["flow_error"])]
    assert (await caller.call("GET", f"/v1/webhooks/{old['id']}")).status == 404
    assert "secret" not in (await caller.call("GET", path)).body["webhooks"][0]
    assert (await caller.call("DELETE", path)).status == 204
    assert (await caller.call("GET", f"/v1/webhooks/{own['id']}")).status == 404


async def test_a_call_that_wants_a_callback_is_not_answered_from_the_cache(caller: Caller, web: Target) -> None:
    made = await deployed(caller, greeting(), cache_seconds=60)
    path = f"/v1/deployments/{made['id']}/runs"
    first = await caller.call("POST", path, {"input": {"text": "a"}})
    second = await caller.call("POST", path, {"input": {"text": "a"}, "callback_url": web.url("/cached")})
    assert first.run_id != second.run_id
    (received,) = await web.received("/cached")
    assert body(received)["id"] == second.run_id


async def test_every_step_of_a_run_with_effects_is_told_while_it_goes_on(caller: Caller, web: Target) -> None:
    """C27: a subscriber hears of a node before the run has ended."""
    made = await deployed(caller, chain(http("one", web.url("/one")), http("two", web.url("/two")), output("x")))
    web.hold("/two")
    await webhook(caller, web.url("/steps"), "component_completed", "flow_started", deployment_id=made["id"])
    await caller.submit(made["id"])
    await web.received("/two")
    received = await web.received("/steps", 3)
    assert {(body(each)["event"], body(each).get("component")) for each in received} == {
        ("flow_started", None),
        ("component_completed", "in"),
        ("component_completed", "one"),
    }
    web.release("/two")
    await web.received("/steps", 5)
