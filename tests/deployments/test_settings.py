"""What a deployment is told to do, it does, on every gateway: who may call it, how often, and what is remembered."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from services.gateway.endpoints import ENDPOINTS
from tests.e2e.caller import Answer, Caller, calling, until
from tests.e2e.flows import chain, http, output, template
from tests.e2e.target import Target, target
from tests.stack import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("settings"), gateways=2, env={"HEADGATE_FSYNC": "interval"}) as running:
        yield running


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[Caller]:
    async with calling(stack) as caller:
        yield caller


@pytest.fixture
async def anybody(stack: Stack) -> AsyncIterator[Caller]:
    """A caller without a key."""
    async with aiohttp.ClientSession(headers={"Content-Type": "application/json"}) as session:
        yield Caller(stack, session)


@pytest.fixture
async def web() -> AsyncIterator[Target]:
    async with target() as found:
        yield found


def echoing() -> dict[str, Any]:
    return chain(template("hi", "Hello, {{ in.text }}!"), output("{{ hi.text }}"))


async def patch(admin: Caller, deployment: str, **changes: Any) -> dict[str, Any]:
    """Change a deployment, and wait until the other gateway knows."""
    answer = await admin.call("PATCH", f"/v1/deployments/{deployment}", changes)
    assert answer.status == 200, answer.body

    async def known() -> bool:
        there = await admin.call("GET", f"/v1/deployments/{deployment}", gateway=1)
        return bool(there.body["updated_at"] == answer.body["updated_at"])

    await until(known)
    found: dict[str, Any] = answer.body
    return found


async def test_settings_are_shown_changed_and_taken_back(admin: Caller) -> None:
    limits = {"concurrent_runs": 3, "requests_per_second": 9}
    deployment = await admin.deploy(echoing(), public=True, cache_seconds=30, limits=limits)
    shown = (await admin.call("GET", f"/v1/deployments/{deployment}", gateway=1)).body
    assert (shown["public"], shown["cache_seconds"]) == (True, 30)
    assert shown["limits"] == {"concurrent_runs": 3, "monthly_requests": None, "requests_per_second": 9}
    changed = await patch(admin, deployment, limits={"requests_per_second": None, "monthly_requests": 5})
    assert changed["limits"] == {"concurrent_runs": 3, "monthly_requests": 5, "requests_per_second": None}
    assert (changed["public"], changed["cache_seconds"]) == (True, 30)
    reset = await patch(admin, deployment, limits=None, cache_seconds=None, public=False)
    assert set(reset["limits"].values()) == {None}
    assert (reset["public"], reset["cache_seconds"]) == (False, 0)


@pytest.mark.parametrize(
    ("setting", "pointer"),
    [
        ({"cache_seconds": -1}, "/cache_seconds"),
        ({"cache_seconds": 86_401}, "/cache_seconds"),
        ({"public": "yes"}, "/public"),
        ({"limits": {"concurrent_runs": 0}}, "/limits/concurrent_runs"),
        ({"limits": {"monthly_requests": 1.5}}, "/limits/monthly_requests"),
        ({"limits": {"runs": 1}}, "/limits/runs"),
        ({"webhooks": {}}, "/webhooks"),
        ({"webhooks": [{"url": "https://example.org", "events": ["flow_ended"]}]}, "/webhooks/0/events/0"),
        ({"webhooks": [{"url": "https://example.org"}, {"url": "http://10.1.2.3/"}]}, "/webhooks/1/url"),
        ({"callback_url": "ftp://example.org"}, "/callback_url"),
        ({"callback_url": "http://169.254.169.254/latest"}, "/callback_url"),
        ({"email": {}}, "/email/to"),
        ({"email": {"to": "a@example.org\r\nBcc: b@example.org"}}, "/email/to"),
        ({"email": {"to": "{{ in.", "subject": "x"}}, "/email/to"),
        ({"email": {"to": "a@example.org", "subject": "{{ secret.token }}"}}, "/email/subject"),
    ],
)
async def test_settings_that_cannot_be_are_refused(admin: Caller, setting: dict[str, Any], pointer: str) -> None:
    flow = (await admin.call("POST", "/v1/flows", echoing())).body
    refused = await admin.call("POST", f"/v1/flows/{flow['id']}/deployments", setting)
    assert refused.status == 400
    assert refused.body["errors"][0]["pointer"] == pointer
    deployment = await admin.call("POST", f"/v1/flows/{flow['id']}/deployments", {})
    again = await admin.call("PATCH", f"/v1/deployments/{deployment.body['id']}", setting)
    assert (again.status, again.body["errors"][0]["pointer"]) == (400, pointer)


async def test_of_changes_made_at_once_none_is_lost(admin: Caller) -> None:
    deployment = await admin.deploy(echoing())
    path = f"/v1/deployments/{deployment}"
    wishes = ({"requests_per_second": 5}, {"monthly_requests": 7}, {"concurrent_runs": 3})
    for _ in range(5):
        await admin.call("PATCH", path, {"limits": None})
        tries = [admin.call("PATCH", path, {"limits": wish}, gateway=n % 2) for n, wish in enumerate(wishes)]
        assert [answer.status for answer in await asyncio.gather(*tries)] == [200, 200, 200]
        limits = (await patch(admin, deployment, name="again"))["limits"]
        assert limits == {"concurrent_runs": 3, "monthly_requests": 7, "requests_per_second": 5}


async def test_every_endpoint_is_where_the_deployment_is_called(admin: Caller) -> None:
    deployment = await admin.deploy(echoing())
    shown = (await admin.call("GET", f"/v1/deployments/{deployment}")).body["endpoints"]
    assert list(shown) == list(ENDPOINTS)
    run_id = await admin.submit(deployment)
    await admin.ended(run_id)
    for name, url in shown.items():
        path = url.removeprefix(admin.stack.url).replace("{run_id}", run_id).replace("{job_id}", run_id)
        body = {"inputs": [{}]} if name == "batch" else {}
        method = "GET" if "{" in url else "POST"
        answer = await admin.call(method, path, None if method == "GET" else body)
        assert answer.status in (200, 202), (name, answer.body)


async def test_an_answer_is_given_again_by_the_other_gateway_too(admin: Caller, web: Target) -> None:
    deployment = await admin.deploy(chain(http("call", web.url("/x")), output("{{ call.body }}")), cache_seconds=60)
    first = await admin.start(deployment, "a")
    assert "Headgate-Cache" not in first.headers
    for gateway in (1, 0):
        again = await admin.start(deployment, "a", gateway=gateway)
        assert again.headers["Headgate-Cache"] == "hit"
        assert again.body == first.body
        assert again.run_id == first.run_id
    assert len(web.to("/x")) == 1
    dialect = await admin.call("POST", f"/v1/api/workflow/run/{deployment}", {"input": {"text": "a"}}, gateway=1)
    assert (dialect.headers["Headgate-Cache"], dialect.body["output"]) == ("hit", first.body["output"])


async def test_another_input_tweak_or_version_is_another_answer(admin: Caller) -> None:
    document = echoing()
    deployment = await admin.deploy(document, cache_seconds=60)
    path = f"/v1/deployments/{deployment}/runs"

    async def hit(body: dict[str, Any]) -> bool:
        return "Headgate-Cache" in (await admin.call("POST", path, body)).headers

    given = {"input": {"text": "a"}}
    assert [await hit(given), await hit(given)] == [False, True]
    assert not await hit({"input": {"text": "b"}})
    tweaked = {**given, "tweaks": {"hi": {"text": "Bye"}}}
    assert [await hit(tweaked), await hit(tweaked), await hit(given)] == [False, True, True]
    flow = (await admin.call("GET", f"/v1/deployments/{deployment}")).body["flow_id"]
    await admin.call("PUT", f"/v1/flows/{flow}", document)
    await patch(admin, deployment, version=2)
    assert not await hit(given)
    await patch(admin, deployment, version=1)
    assert await hit(given)


async def test_what_failed_what_has_a_session_and_what_is_not_waited_for_is_not_kept(
    admin: Caller, web: Target
) -> None:
    deployment = await admin.deploy(echoing(), cache_seconds=60)
    for body in ({"input": {"text": "s"}, "session_id": "s1"}, {"input": {"text": "q"}, "mode": "async"}):
        for _ in range(2):
            answer = await admin.call("POST", f"/v1/deployments/{deployment}/runs", body)
            assert "Headgate-Cache" not in answer.headers
    broken = chain({"id": "t", "type": "transform", "config": {"expression": "length(in.count)"}})
    failing = await admin.deploy(broken, cache_seconds=60)
    for _ in range(2):
        answer = await admin.start(failing)
        assert (answer.body["status"], "Headgate-Cache" in answer.headers) == ("failed", False)


async def test_an_answer_is_forgotten_when_its_time_is_over(admin: Caller) -> None:
    deployment = await admin.deploy(echoing(), cache_seconds=1)
    first = await admin.start(deployment, "a")
    assert "Headgate-Cache" in (await admin.start(deployment, "a")).headers

    async def run_again() -> bool:
        return (await admin.start(deployment, "a")).run_id != first.run_id

    await until(run_again, 10)


async def test_a_public_deployment_is_called_without_a_key_by_its_own_id(admin: Caller, anybody: Caller) -> None:
    document = echoing()
    deployment = await admin.deploy(document, public=True)
    answer = await anybody.start(deployment, "you", gateway=1)
    assert (answer.status, answer.body["output"]) == (200, "Hello, you!")
    by_slug = await anybody.start(document["slug"])
    assert (by_slug.status, by_slug.body["code"]) == (401, "unauthorized")
    for path in (f"/v1/deployments/{deployment}", f"/v1/runs/{answer.run_id}", "/v1/runs"):
        assert (await anybody.call("GET", path)).status == 401
    await patch(admin, deployment, public=False)
    for gateway in (0, 1):
        assert (await anybody.start(deployment, gateway=gateway)).status == 401


async def test_one_that_is_not_public_is_not(admin: Caller, anybody: Caller) -> None:
    deployment = await admin.deploy(echoing())
    refused = await anybody.start(deployment)
    assert (refused.status, refused.body["code"]) == (401, "unauthorized")
    assert (await anybody.start("00000000-0000-0000-0000-000000000000")).status == 401


async def test_a_public_deployment_out_of_service_says_so(admin: Caller, anybody: Caller) -> None:
    deployment = await admin.deploy(echoing(), public=True)
    await admin.call("POST", f"/v1/deployments/{deployment}/undeploy")
    refused = await anybody.start(deployment)
    assert (refused.status, refused.body["code"]) == (404, "deployment_inactive")


async def test_a_deployments_limit_holds_besides_the_workspaces(admin: Caller, anybody: Caller, web: Target) -> None:
    web.hold("/slow")
    document = chain(http("call", web.url("/slow")))
    narrow = await admin.deploy(document, public=True, limits={"concurrent_runs": 2})
    flow = (await admin.call("GET", f"/v1/deployments/{narrow}")).body["flow_id"]
    wide = (await admin.call("POST", f"/v1/flows/{flow}/deployments", {"type": "test"})).body["id"]
    started = [await admin.submit(narrow, gateway=gateway) for gateway in (0, 1)]

    def refused(answer: Answer) -> bool:
        return (answer.status, answer.body.get("code")) == (429, "concurrency_limit")

    for gateway in (0, 1):
        answer = await admin.start(narrow, mode="async", gateway=gateway)
        assert refused(answer)
        assert int(answer.headers["Retry-After"]) >= 1
        assert "deployment" in answer.body["detail"]
        assert refused(await anybody.start(narrow, mode="async", gateway=gateway))
    started += [await admin.submit(wide) for _ in range(4)]
    await patch(admin, narrow, limits={"concurrent_runs": 3})
    started.append(await admin.submit(narrow, gateway=1))
    web.release("/slow")
    await asyncio.gather(*[admin.ended(run_id) for run_id in started])
    assert (await admin.start(narrow)).status == 200


async def test_a_deployments_month_is_counted_by_itself(admin: Caller) -> None:
    deployment = await admin.deploy(echoing(), limits={"monthly_requests": 3})
    statuses = [(await admin.start(deployment, gateway=number % 2)).status for number in range(4)]
    assert statuses == [200, 200, 200, 429]
    other = await admin.deploy(echoing())
    assert (await admin.start(other)).status == 200
