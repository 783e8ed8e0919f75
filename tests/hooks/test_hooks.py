"""A hook over real sockets: any JSON begins a run, a replay begins none, and nobody calls it unasked."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from tests.e2e.caller import Answer, Caller, calling, until
from tests.e2e.flows import output, template
from tests.hooks.signing import SECRET, WORD, standard, with_body, with_time
from tests.stack import Stack

STANDARD = {"verify": "standard", "secret_name": "sender"}
ON_BODY = {"verify": "hmac", "secret_name": "word", "header": "X-Hub-Signature-256", "prefix": "sha256="}
PUSH = {"ref": "refs/heads/main", "commits": [{"id": "1f"}], "ünknown": {"deep": [1, None, True]}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("hooks"), gateways=2, env={"HEADGATE_FSYNC": "interval"}) as running:
        yield running


@pytest.fixture
async def admin(stack: Stack) -> AsyncIterator[Caller]:
    async with calling(stack) as caller:
        for name, value in (("sender", SECRET), ("word", WORD)):
            await caller.call("PUT", f"/v1/secrets/{name}", {"value": value})
        yield caller


@pytest.fixture
async def service() -> AsyncIterator[aiohttp.ClientSession]:
    """An external service: it has no key."""
    async with aiohttp.ClientSession() as session:
        yield session


def listening(*fields: dict[str, Any]) -> dict[str, Any]:
    """A flow that answers with what it was given."""
    slug = f"hook-{id(fields)}-{len(fields)}"
    start = {"id": "in", "type": "api_input", "config": {"fields": list(fields)}}
    nodes = [start, template("t", "x"), output("{{ in }}")]
    edges = [{"source": "in", "target": "t"}, {"source": "t", "target": "out"}]
    return {"name": slug, "slug": slug, "nodes": nodes, "edges": edges}


REF = {"name": "ref", "type": "string", "required": True}
WHOLE = {"name": "id", "type": "string"}


async def deploy(admin: Caller, *fields: dict[str, Any], **options: Any) -> str:
    document = listening(*fields)
    saved = await admin.call("POST", "/v1/flows/import", document)
    made = await admin.call("POST", f"/v1/flows/{saved.body['id']}/deployments", options)
    assert made.status == 201, made.body
    deployment: str = made.body["id"]

    async def known() -> bool:
        return (await admin.call("GET", f"/v1/deployments/{deployment}", gateway=1)).status == 200

    await until(known)
    return deployment


async def post(
    service: aiohttp.ClientSession, stack: Stack, name: str, body: bytes, headers: dict[str, str], gateway: int = 0
) -> Answer:
    url = f"{stack.urls[gateway]}/v1/deployments/{name}/hook"
    async with service.post(url, data=body, headers=headers) as response:
        text = await response.read()
        return Answer(status=response.status, headers=dict(response.headers), body=json.loads(text), seconds=0)


def refusal(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.body["code"]


async def test_a_signed_delivery_begins_a_run_with_the_whole_body(
    admin: Caller, service: aiohttp.ClientSession, stack: Stack
) -> None:
    deployment = await deploy(admin, REF, incoming=STANDARD)
    body = json.dumps(PUSH).encode()
    answer = await post(service, stack, deployment, body, {**standard(body), "Content-Type": "text/plain"}, gateway=1)
    run_id = answer.body["run_id"]
    assert (answer.status, answer.body) == (202, {"run_id": run_id, "replayed": False})
    assert answer.headers["Headgate-Run-Id"] == run_id
    assert answer.headers["Location"] == f"/v1/runs/{run_id}"
    run = await admin.ended(run_id)
    assert (run["status"], run["output"], run["input"]) == ("completed", PUSH, PUSH)
    audited = await admin.call("GET", f"/v1/audit/events?run_id={run_id}&type=run.requested")
    assert [entry["by"] for entry in audited.body["data"]] == ["hook"]


@pytest.mark.parametrize(
    ("incoming", "sign"),
    [
        (STANDARD, standard),
        (ON_BODY, lambda body: {"X-Hub-Signature-256": f"sha256={with_body(body)}"}),
        (
            {**ON_BODY, "header": "Pay-Signature", "prefix": "v1=", "signed": "{timestamp}.{body}"},
            lambda body: {"Pay-Signature": with_time(body)},
        ),
    ],
    ids=["standard", "body", "time"],
)
async def test_a_replay_on_any_gateway_is_answered_with_the_same_run(
    admin: Caller, service: aiohttp.ClientSession, stack: Stack, incoming: dict[str, Any], sign: Any
) -> None:
    deployment = await deploy(admin, WHOLE, incoming=incoming)
    body = b'{"id": "evt_1"}'
    headers = sign(body)
    # An Idempotency-Key is not signed: whoever replays could choose another each time.
    sent = [{**headers, "Idempotency-Key": f"k{n}"} for n in range(20)]
    posts = [post(service, stack, deployment, body, each, n % 2) for n, each in enumerate(sent)]
    answers = await asyncio.gather(*posts)
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body["run_id"] for answer in answers}) == 1
    assert sorted(answer.body["replayed"] for answer in answers) == [False] + [True] * 19
    assert all(("Idempotent-Replayed" in a.headers) == a.body["replayed"] for a in answers)
    listed = await admin.call("GET", f"/v1/runs?deployment_id={deployment}")
    assert len(listed.body["data"]) == 1
    other = sign(b'{"id": "evt_2"}') | ({"webhook-id": "msg_1"} if incoming is STANDARD else {})
    second = await post(service, stack, deployment, b'{"id": "evt_2"}', other)
    # By the standard an id is one delivery for ever; without ids another body is another one.
    assert second.status == (422 if incoming is STANDARD else 202)


@pytest.mark.parametrize("field", ["undeclared", "text", None])
async def test_any_json_is_taken_where_a_field_is_named_for_it(
    admin: Caller, service: aiohttp.ClientSession, stack: Stack, field: str | None
) -> None:
    deployment = await deploy(admin, {"name": "text", "type": "string"}, incoming={"field": field})
    for value in ([1, {"a": None}], "words", 7.5, True, None, {"text": "t", "more": 1}):
        body = json.dumps(value).encode()
        answer = await post(service, stack, deployment, body, stack.headers)
        if field is None and not isinstance(value, dict):
            assert refusal(answer) == (400, "invalid_input")
            assert answer.body["errors"][0]["pointer"] == ""
            continue
        assert answer.status == 202, answer.body
        is_text = field == "text" and not isinstance(value, str)
        expected = value if field is None else {field: body.decode() if is_text else value}
        assert (await admin.run(answer.body["run_id"]))["input"] == expected


async def test_a_body_that_does_not_fit_is_refused_and_says_where(
    admin: Caller, service: aiohttp.ClientSession, stack: Stack
) -> None:
    deployment = await deploy(admin, REF, incoming=STANDARD)
    for body, pointer in ((b"{}", "/ref"), (b'{"ref": 7}', "/ref"), (b"", "/ref"), (b"{", None), (b"\xff", None)):
        answer = await post(service, stack, deployment, body, standard(body, delivery=f"msg_{len(body)}"))
        assert refusal(answer) == (400, "invalid_input")
        assert pointer in (None, *(fault["pointer"] for fault in answer.body.get("errors", [])))


async def test_nobody_calls_a_hook_without_a_signature_or_a_key(
    admin: Caller, service: aiohttp.ClientSession, stack: Stack
) -> None:
    body = json.dumps(PUSH).encode()
    verified = await deploy(admin, REF, incoming=STANDARD)
    public = await deploy(admin, REF, incoming=STANDARD, public=True)
    unverified = await deploy(admin, REF)
    forged = {**standard(body), "webhook-signature": "v1,AAAA"}
    old = standard(body, at=1_700_000_000)
    slug = (await admin.call("GET", f"/v1/deployments/{verified}")).body["flow_slug"]
    for name, headers in (
        (verified, {}),
        (verified, forged),
        (verified, old),
        (verified, {"webhook-id": "msg_1"}),
        (verified, {"webhook-signature": "v1,AAAA"}),
        (public, {}),
        (public, forged),
        (unverified, {}),
        (unverified, standard(body)),
        (slug, standard(body)),
        ("00000000-0000-0000-0000-000000000000", standard(body)),
        (verified, {**forged, **stack.headers}),
    ):
        for gateway in (0, 1):
            answer = await post(service, stack, name, body, headers, gateway)
            assert refusal(answer) == (401, "unauthorized"), (name, headers)
    for name, headers in (
        (verified, stack.headers),
        (verified, {**standard(body), **stack.headers}),
        (slug, stack.headers),
        (unverified, stack.headers),
    ):
        assert (await post(service, stack, name, body, headers)).status == 202
    reader = (await admin.call("POST", "/v1/keys", {"name": "r", "permissions": ["read"]})).body["key"]
    for headers in ({"X-API-Key": reader}, {**standard(body), "X-API-Key": reader}):
        assert refusal(await post(service, stack, verified, body, headers)) == (403, "forbidden")


async def test_a_call_with_a_key_has_an_idempotency_key_like_any_other(
    admin: Caller, service: aiohttp.ClientSession, stack: Stack
) -> None:
    deployment = await deploy(admin, REF)
    headers = {**stack.headers, "Idempotency-Key": "once"}
    answers = [await post(service, stack, deployment, b'{"ref": "a"}', headers, n % 2) for n in range(2)]
    assert answers[0].body["run_id"] == answers[1].body["run_id"]
    assert refusal(await post(service, stack, deployment, b'{"ref": "b"}', headers)) == (422, "idempotency_conflict")


async def test_limits_hold_for_signed_deliveries_and_a_replay_takes_no_slot(
    admin: Caller, service: aiohttp.ClientSession, stack: Stack
) -> None:
    deployment = await deploy(admin, REF, incoming=STANDARD, limits={"monthly_requests": 2})
    body = b'{"ref": "a"}'
    statuses = []
    for number in (1, 1, 2, 1, 3, 2):
        answer = await post(service, stack, deployment, body, standard(body, delivery=f"msg_{number}"), number % 2)
        statuses.append(answer.status)
    assert statuses == [202, 202, 202, 202, 429, 202]


async def test_the_workspaces_limits_hold_for_them_too(
    admin: Caller, service: aiohttp.ClientSession, stack: Stack
) -> None:
    made = await admin.call(
        "POST", "/v1/workspaces", {"name": "w", "plan": "enterprise", "limits": {"monthly_requests": 1}}
    )
    async with aiohttp.ClientSession(headers={"X-API-Key": made.body["admin_key"]}) as session:
        owner = Caller(stack, session)
        await owner.call("PUT", "/v1/secrets/sender", {"value": SECRET})
        deployment = await deploy(owner, REF, incoming=STANDARD)
    body = b'{"ref": "a"}'
    answers = [await post(service, stack, deployment, body, standard(body, delivery=f"msg_{n}")) for n in range(2)]
    assert [answer.status for answer in answers] == [202, 429]
    assert all("RateLimit" in answer.headers for answer in answers)
    forged = await post(service, stack, deployment, body, {**standard(body), "webhook-signature": "v1,AAAA"})
    assert forged.status == 401
    assert "RateLimit" not in forged.headers


async def test_the_setting_is_shown_changed_and_taken_back(
    admin: Caller, service: aiohttp.ClientSession, stack: Stack
) -> None:
    deployment = await deploy(admin, REF, incoming=ON_BODY)
    shown = (await admin.call("GET", f"/v1/deployments/{deployment}")).body
    assert shown["incoming"].items() >= ON_BODY.items()
    assert WORD not in json.dumps(shown)
    assert shown["endpoints"]["hook"] == f"{stack.url}/v1/deployments/{deployment}/hook"
    body = b'{"ref": "a"}'
    assert (await post(service, stack, deployment, body, standard(body))).status == 401
    path = f"/v1/deployments/{deployment}"
    assert (await admin.call("PATCH", path, {"incoming": STANDARD})).status == 200
    assert (await post(service, stack, deployment, body, standard(body))).status == 202
    assert (await admin.call("PATCH", path, {"name": "n"})).body["incoming"]["verify"] == "standard"
    assert (await admin.call("PATCH", path, {"incoming": None})).body["incoming"]["verify"] == "none"
    assert (await post(service, stack, deployment, body, standard(body))).status == 401


@pytest.mark.parametrize(
    ("incoming", "pointer"),
    [
        ({"verify": "md5"}, "/incoming/verify"),
        ({"verify": "standard"}, "/incoming/secret_name"),
        ({"verify": "standard", "secret_name": "nobody"}, "/incoming/secret_name"),
        ({"verify": "standard", "secret_name": "word"}, "/incoming/secret_name"),
        ({"verify": "standard", "secret_name": "../x"}, "/incoming/secret_name"),
        ({**STANDARD, "header": "X"}, "/incoming/header"),
        ({**ON_BODY, "header": None}, "/incoming/header"),
        ({**ON_BODY, "header": "X: y"}, "/incoming/header"),
        ({**ON_BODY, "signed": "{timestamp}"}, "/incoming/signed"),
        ({**ON_BODY, "signed": "{body}{body}"}, "/incoming/signed"),
        ({**ON_BODY, "algorithm": "md5"}, "/incoming/algorithm"),
        ({**STANDARD, "tolerance_seconds": 0}, "/incoming/tolerance_seconds"),
        ({"field": ""}, "/incoming/field"),
        ({"unknown": 1}, "/incoming"),
    ],
    ids=str,
)
async def test_a_setting_that_makes_no_sense_is_refused(admin: Caller, incoming: dict[str, Any], pointer: str) -> None:
    deployment = await deploy(admin, REF)
    refused = await admin.call("PATCH", f"/v1/deployments/{deployment}", {"incoming": incoming})
    assert refusal(refused) == (400, "invalid_input")
    assert any(fault["pointer"].startswith(pointer) for fault in refused.body["errors"]), refused.body
    assert WORD not in json.dumps(refused.body)


async def test_a_deployment_out_of_service_and_a_secret_that_is_gone_are_said(
    admin: Caller, service: aiohttp.ClientSession, stack: Stack
) -> None:
    await admin.call("PUT", "/v1/secrets/passing", {"value": SECRET})
    deployment = await deploy(admin, REF, incoming={**STANDARD, "secret_name": "passing"})
    body = b'{"ref": "a"}'
    await admin.call("POST", f"/v1/deployments/{deployment}/undeploy")
    inactive = await post(service, stack, deployment, body, standard(body))
    assert refusal(inactive) == (404, "deployment_inactive")
    await admin.call("POST", f"/v1/deployments/{deployment}/redeploy")
    await admin.call("DELETE", "/v1/secrets/passing")

    async def forgotten() -> bool:
        answer = await post(service, stack, deployment, body, standard(body))
        return answer.status == 401 and "not set" in answer.body["detail"]

    await until(forgotten, 10)
