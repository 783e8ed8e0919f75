"""What holds in each of the five dialects: keys, addresses, bodies, errors, limits, idempotency."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.dialects.caller import Caller, Deployed
from tests.dialects.conftest import MAX_BODY_BYTES
from tests.dialects.dialects import AICUFLOW, ALL, FLUXPROMPT, WAITING, Dialect
from tests.dialects.documents import failing, optional, repeating, waiting
from tests.dialects.model import Model
from tests.stack import Stack

each = pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)
each_that_waits = pytest.mark.parametrize("dialect", WAITING, ids=lambda dialect: dialect.name)

UNKNOWN_KEY = "sk-" + "x" * 40


@each
def test_an_id_a_flow_id_and_a_slug_all_name_the_deployment(
    dialect: Dialect, admin: Caller, repeater: Deployed
) -> None:
    for name in (repeater.id, repeater.flow_id, repeater.slug):
        answer = admin.post(dialect.at(name), dialect.body("hello"))
        assert dialect.finished(admin, answer) == "You said: hello"
        run = admin.get(f"/v1/runs/{answer.headers['Headgate-Run-Id']}").json()
        assert (run["deployment_id"], run["input"]) == (repeater.id, {"text": "hello"})


@each
@pytest.mark.parametrize(
    "header",
    [
        ("Authorization", "Bearer {}"),
        ("authorization", "bearer {}"),
        ("X-API-Key", "{}"),
        ("X-API-KEY", "{}"),
        ("x-API-Key", "{}"),
        ("api-key", "{}"),
        ("Api-Key", "{}"),
    ],
    ids=lambda header: header[0] + header[1][:3],
)
def test_every_form_of_a_key_is_read(
    dialect: Dialect, header: tuple[str, str], admin: Caller, repeater: Deployed
) -> None:
    headers = {header[0]: header[1].format(repeater.key)}
    answer = admin.post(dialect.at(repeater.id), dialect.body("hi"), headers=headers)
    assert dialect.finished(admin, answer) == "You said: hi"


@each
def test_two_keys_that_differ_are_refused_and_the_same_twice_is_not(
    dialect: Dialect, admin: Caller, repeater: Deployed
) -> None:
    path, body = dialect.at(repeater.id), dialect.body("hi")
    twice = {"api-key": admin.key, "Authorization": f"Bearer {admin.key}"}
    assert admin.post(path, body, headers=twice).ok
    dialect.error(admin.post(path, body, headers={**twice, "X-API-Key": repeater.key}), 401, "unauthorized")


@each
@pytest.mark.parametrize("kind", [None, "application/x-www-form-urlencoded", "text/plain", "multipart/form-data"])
def test_a_body_is_read_as_json_whatever_it_is_called(
    dialect: Dialect, kind: str | None, admin: Caller, repeater: Deployed
) -> None:
    headers = {"X-API-Key": admin.key, **({"Content-Type": kind} if kind else {})}
    answer = admin.post(dialect.at(repeater.id), dialect.body("Zoë & <b>"), headers=headers)
    assert dialect.finished(admin, answer) == "You said: Zoë & <b>"


@each
def test_a_missing_body_is_an_empty_input(dialect: Dialect, admin: Caller) -> None:
    path = dialect.at(admin.deploy(optional()).id)
    for data in (None, b"", b"{}"):
        assert dialect.finished(admin, admin.post(path, data=data)) == "You said: nothing"


@each
def test_a_slash_more_or_less_is_served_and_never_redirected(
    dialect: Dialect, admin: Caller, repeater: Deployed
) -> None:
    path, query, rest = dialect.at(repeater.id).partition("?")
    for variant in (path.removesuffix("/"), path.removesuffix("/") + "/"):
        answer = admin.post(variant + query + rest, dialect.body("hi"))
        assert dialect.finished(admin, answer) == "You said: hi"


@each
def test_input_that_does_not_fit_is_400_and_says_which_field(
    dialect: Dialect, admin: Caller, repeater: Deployed
) -> None:
    path = dialect.at(repeater.id)
    assert "text" in dialect.error(admin.post(path, {}), 400, "invalid_input")
    for wrong in (dialect.body("x" * 201), dialect.body(7)):  # type: ignore[arg-type]  # on purpose
        assert "text" in dialect.error(admin.post(path, wrong), 400, "invalid_input")


@each
@pytest.mark.parametrize("data", [b"{", b"[]", b'"text"', b'{"a": NaN}', b"\xff\xfe", b"text=hello"])
def test_a_body_that_is_no_json_object_is_400(dialect: Dialect, data: bytes, admin: Caller, repeater: Deployed) -> None:
    dialect.error(admin.post(dialect.at(repeater.id), data=data), 400, "invalid_input")


@each
def test_a_body_over_the_server_s_bound_is_413(dialect: Dialect, admin: Caller, repeater: Deployed) -> None:
    answer = admin.post(dialect.at(repeater.id), dialect.body("x" * MAX_BODY_BYTES))
    dialect.error(answer, 413, "payload_too_large")


@each
def test_no_key_and_an_unknown_or_revoked_key_are_401(dialect: Dialect, admin: Caller, repeater: Deployed) -> None:
    path, body = dialect.at(repeater.id), dialect.body("hi")
    revoked = admin.made("/v1/keys", {"name": "short-lived", "permissions": ["execute"]})
    assert admin.having(revoked["key"]).post(path, body).ok
    assert admin.call("DELETE", f"/v1/keys/{revoked['id']}").status_code == 204
    for key in ("", UNKNOWN_KEY, "not-a-key", revoked["key"]):
        answer = admin.having(key).post(path, body)
        dialect.error(answer, 401, "unauthorized")
        assert "WWW-Authenticate" in answer.headers
        assert "xxx" not in answer.text


@each
def test_a_key_without_the_right_or_for_another_deployment_is_403(
    dialect: Dialect, admin: Caller, repeater: Deployed
) -> None:
    other = admin.deploy(repeating())
    for key in (admin.key_with("read", "write"), other.key):
        answer = admin.having(key).post(dialect.at(repeater.id), dialect.body("hi"))
        dialect.error(answer, 403, "forbidden")


@each
def test_what_does_not_exist_or_is_another_workspace_s_is_404(
    dialect: Dialect, admin: Caller, repeater: Deployed
) -> None:
    stranger = admin.workspace()
    for caller, name in ((admin, "no-such-flow"), (stranger, repeater.id), (stranger, repeater.slug)):
        dialect.error(caller.post(dialect.at(name), dialect.body("hi")), 404, "not_found")
    dialect.error(admin.post(dialect.at("a%20b"), dialect.body("hi")), 404, "not_found")


@each
def test_an_undeployed_flow_is_404_until_it_is_redeployed(dialect: Dialect, admin: Caller) -> None:
    deployed = admin.deploy(repeating())
    assert admin.post(f"/v1/deployments/{deployed.id}/undeploy").ok
    for name in (deployed.id, deployed.slug):
        dialect.error(admin.post(dialect.at(name), dialect.body("hi")), 404, "deployment_inactive")
    assert admin.post(f"/v1/deployments/{deployed.id}/redeploy").ok
    answer = admin.post(dialect.at(deployed.id), dialect.body("back"))
    assert dialect.finished(admin, answer) == "You said: back"


@each_that_waits
def test_a_run_that_failed_is_500_with_its_own_code(dialect: Dialect, admin: Caller) -> None:
    answer = admin.post(dialect.at(admin.deploy(failing()).id), dialect.body("not a number"))
    assert dialect.error(answer, 500, "node_failed")
    assert "Retry-After" not in answer.headers
    run = admin.get(f"/v1/runs/{answer.headers['Headgate-Run-Id']}").json()
    assert (run["status"], run["error"]["node"]) == ("failed", "broken")


@each
def test_the_month_s_quota_is_429(dialect: Dialect, admin: Caller) -> None:
    tenant = admin.workspace(monthly_requests=1)
    path = dialect.at(tenant.deploy(repeating()).id)
    assert tenant.post(path, dialect.body("one")).ok
    refused = tenant.post(path, dialect.body("two"))
    dialect.error(refused, 429, "quota_exceeded")
    assert int(refused.headers["Retry-After"]) > 0


@each
def test_runs_beyond_the_plan_s_slots_are_429_until_one_ends(dialect: Dialect, admin: Caller, model: Model) -> None:
    tenant = admin.workspace(concurrent_runs=1)
    deployed = tenant.deploy(waiting())
    with model.held() as address:
        held = tenant.made_run(deployed.id, address)
        refused = tenant.post(dialect.at(deployed.id), dialect.body(address))
        dialect.error(refused, 429, "concurrency_limit")
        assert int(refused.headers["Retry-After"]) > 0
        assert "RateLimit-Policy" in refused.headers
    tenant.until(f"/v1/runs/{held}", "completed")
    assert tenant.post(dialect.at(deployed.id), dialect.body(address)).ok


def test_a_service_that_cannot_answer_is_503_in_every_envelope(stack: Stack, admin: Caller, repeater: Deployed) -> None:
    """Auth stands still, so a key that no gateway knows yet cannot be verified."""
    callers = [(dialect, admin.having(admin.key_with("execute"))) for dialect in ALL]
    auth = stack.process("auth")["pid"]
    os.kill(auth, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(len(callers)) as pool:
            answers = list(pool.map(lambda each: each[1].post(each[0].at(repeater.id), each[0].body("hi")), callers))
    finally:
        os.kill(auth, signal.SIGCONT)
    for (dialect, _), answer in zip(callers, answers, strict=True):
        dialect.error(answer, 503, "unavailable")
        assert int(answer.headers["Retry-After"]) > 0


@each
def test_an_idempotency_key_starts_one_run(dialect: Dialect, admin: Caller, repeater: Deployed) -> None:
    path = dialect.at(repeater.id)
    headers = {"X-API-Key": admin.key, "Idempotency-Key": f"one of {dialect.name}"}
    first = admin.post(path, dialect.body("once"), headers=headers)
    again = admin.post(path, dialect.body("once"), headers={**headers, "Idempotency-Key": f'"one of {dialect.name}"'})
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert first.headers["Headgate-Run-Id"] == again.headers["Headgate-Run-Id"]
    assert first.json() == again.json()
    dialect.error(admin.post(path, dialect.body("other"), headers=headers), 422, "idempotency_conflict")
    too_long = {**headers, "Idempotency-Key": "k" * 256}
    dialect.error(admin.post(path, dialect.body("once"), headers=too_long), 400, "invalid_input")


@each
def test_a_public_deployment_needs_no_key_and_a_wrong_one_is_still_wrong(
    dialect: Dialect, admin: Caller, repeater: Deployed
) -> None:
    public = admin.deploy(repeating(), public=True)
    nobody = admin.having("")
    for name in (public.id, public.flow_id):
        answer = nobody.post(dialect.at(name), dialect.body("hello"))
        assert dialect.finished(admin, answer) == "You said: hello"
    dialect.error(nobody.post(dialect.at(public.slug), dialect.body("hi")), 401, "unauthorized")
    dialect.error(admin.having(UNKNOWN_KEY).post(dialect.at(public.id), dialect.body("hi")), 401, "unauthorized")
    assert admin.call("PATCH", f"/v1/deployments/{public.id}", {"public": False}).ok
    dialect.error(nobody.post(dialect.at(public.id), dialect.body("hi")), 401, "unauthorized")


@each_that_waits
def test_a_run_that_outlasts_the_call_is_202_and_goes_on(dialect: Dialect, admin: Caller, model: Model) -> None:
    deployed = admin.deploy(waiting(), sync_timeout_seconds=0.1)
    with model.held() as address:
        answer = admin.post(dialect.at(deployed.id), dialect.body(address))
        assert answer.status_code == 202
        run_id = answer.headers["Headgate-Run-Id"]
        assert run_id in answer.text
    assert admin.until(f"/v1/runs/{run_id}", "completed")["output"] == "let go"


@pytest.mark.parametrize("dialect", [AICUFLOW, FLUXPROMPT], ids=lambda dialect: dialect.name)
def test_an_asynchronous_deployment_only_says_that_it_was_triggered(
    dialect: Dialect, admin: Caller, model: Model
) -> None:
    deployed = admin.deploy(waiting(), mode="async")
    with model.held() as address:
        answer = admin.post(dialect.at(deployed.id), dialect.body(address))
    receipt = answer.json()
    run_id = answer.headers["Headgate-Run-Id"]
    assert answer.status_code == 202
    if dialect is AICUFLOW:
        assert receipt["status"] == "success"
        assert receipt["message"]
        assert receipt["data"] == {"status": "queued", "job_id": run_id}
    else:
        assert receipt == {"status": "queued", "runId": run_id, "output": None, "outputs": []}
    assert admin.until(f"/v1/runs/{run_id}", "completed")["output"] == "let go"


@each
@pytest.mark.parametrize("mode", ["async", "stream"])
def test_a_deployment_s_mode_never_breaks_a_dialect_s_shape(dialect: Dialect, mode: str, admin: Caller) -> None:
    """Where the dialect says itself whether it waits, the deployment does not; a stream is never forced on anybody."""
    deployed = admin.deploy(repeating(), mode=mode)
    answer = admin.post(dialect.at(deployed.id), dialect.body("hi"))
    assert answer.headers["Content-Type"] == "application/json"
    if mode == "stream" or dialect not in (AICUFLOW, FLUXPROMPT):
        assert dialect.finished(admin, answer) == "You said: hi"


@each
def test_the_openapi_document_has_the_dialect_s_own_errors(dialect: Dialect, admin: Caller) -> None:
    document = admin.get("/openapi.json").json()
    pattern = dialect.path.partition("?")[0].replace("{}", "{%s}")
    (operation,) = [
        found["post"] for path, found in document["paths"].items() if _without_names(path) == pattern.replace("%s", "")
    ]
    for status in ("400", "401", "403", "404", "422", "429", "500", "503"):
        (schema,) = [media["schema"] for media in operation["responses"][status]["content"].values()]
        assert set(_resolved(document, schema)["properties"]) == dialect.error_keys


def test_the_operations_of_the_openapi_document_have_names_of_their_own(admin: Caller) -> None:
    paths = admin.get("/openapi.json").json()["paths"]
    names = [operation["operationId"] for methods in paths.values() for operation in methods.values()]
    assert len(names) == len(set(names))


def _without_names(path: str) -> str:
    head, brace, rest = path.partition("{")
    return head + brace + rest[rest.index("}") :] if brace else head


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found
