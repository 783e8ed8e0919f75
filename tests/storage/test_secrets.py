"""Secrets through the API and in runs: readable by nodes, in nobody's sight otherwise."""

import asyncio
import json
import os
import re
from pathlib import Path
from typing import Any

from tests.e2e.caller import Caller, until
from tests.e2e.model import model
from tests.e2e.target import Prepared, Target
from tests.stack import Stack
from tests.storage.flows import chain, node

ASKS = [{"name": "text", "type": "string"}]


def canary() -> str:
    """A value that is nowhere else, with what JSON and addresses must escape."""
    return f'can"ary/{os.urandom(16).hex()}\\é end'


def traces(data: Path, value: str) -> list[str]:
    """The files below `data` that hold the value as it is, as JSON has it, or its longest plain part."""
    forms = [value.encode(), json.dumps(value).encode(), max(re.findall("[0-9a-f]+", value), key=len).encode()]
    files = [path for path in data.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(form in path.read_bytes() for form in forms)]


async def put(caller: Caller, name: str, value: str) -> None:
    answer = await caller.call("PUT", f"/v1/secrets/{name}", {"value": value})
    assert answer.status in (200, 201), answer.body


async def run_of(caller: Caller, deployment: str, text: str = "x") -> dict[str, Any]:
    run: dict[str, Any] = (await caller.start(deployment, text)).body
    return run


async def test_a_secret_is_set_listed_by_name_and_deleted(caller: Caller) -> None:
    first = await caller.call("PUT", "/v1/secrets/LISTED", {"value": "one-value"})
    again = await caller.call("PUT", "/v1/secrets/LISTED", {"value": "two-value"}, gateway=1)
    assert (first.status, again.status) == (201, 200)
    listed = await caller.call("GET", "/v1/secrets")
    (entry,) = [each for each in listed.body["data"] if each["name"] == "LISTED"]
    assert set(entry) == {"name", "created_at", "updated_at"}
    assert entry["updated_at"] > entry["created_at"]
    assert "value" not in json.dumps([first.body, again.body, listed.body])
    assert (await caller.call("DELETE", "/v1/secrets/LISTED")).status == 204
    assert (await caller.call("DELETE", "/v1/secrets/LISTED")).status == 404


async def test_names_and_values_that_do_not_fit_are_refused(caller: Caller) -> None:
    for name in ("1abc", "a-b", "a" * 65, "%C3%A9"):
        assert (await caller.call("PUT", f"/v1/secrets/{name}", {"value": "x"})).status == 400, name
    for body in ({}, {"value": ""}, {"value": 1}, {"value": "x" * 32_769}, {"value": "é" * 16_385}):
        answer = await caller.call("PUT", "/v1/secrets/FITS", body)
        assert answer.status == 400
        assert answer.body["errors"][0]["pointer"] == "/value"
    assert (await caller.call("PUT", "/v1/secrets/FITS", {"value": "é" * 16_384})).status == 201


async def test_secrets_need_the_right_and_stay_in_their_workspace(caller: Caller) -> None:
    await put(caller, "OURS", "our-own-value")
    key = (await caller.call("POST", "/v1/keys", {"name": "r", "permissions": ["read", "execute"]})).body["key"]
    headers = {"Authorization": f"Bearer {key}"}
    assert (await caller.call("PUT", "/v1/secrets/OURS", {"value": "theirs"}, headers=headers)).status == 403
    made = await caller.call("POST", "/v1/workspaces", {"name": "Other", "plan": "pro"})
    foreign = {"Authorization": f"Bearer {made.body['admin_key']}"}
    assert (await caller.call("GET", "/v1/secrets", headers=foreign)).body["data"] == []
    assert (await caller.call("DELETE", "/v1/secrets/OURS", headers=foreign)).status == 404


async def test_a_node_sends_the_secret_and_nothing_stored_holds_it(caller: Caller, web: Target) -> None:
    token, spoken = canary(), f"horse {os.urandom(8).hex()} staple"
    await put(caller, "TOKEN", token)
    await put(caller, "SPOKEN", spoken)
    web.answer("/echo", [Prepared(body=json.dumps({"said": token, token: [spoken]}).encode()) for _ in range(2)])
    document = chain(
        "uses-secrets",
        node("in", "api_input", fields=ASKS),
        node("made", "template", value={"plain": "{{ secret.TOKEN }}", "json": "{{ secret.TOKEN | json }}"}),
        node("llm", "prompt", model="echo/echo", prompt="say {{ secret.SPOKEN }} loudly"),
        node(
            "ask",
            "http_request",
            method="POST",
            url=web.url("/echo") + "?t={{ secret.TOKEN | urlencode }}",
            body={"token": "{{ made.plain }}"},
        ),
        node("out", "api_output", value={"all": ["{{ made }}", "{{ llm.text }}", "{{ ask.body }}"]}),
    )
    deployment = await caller.deploy(document)
    body = {"input": {}, "session_id": "with-secrets", "mode": "sync"}
    run = (await caller.call("POST", f"/v1/deployments/{deployment}/runs", body)).body
    assert run["status"] == "completed", run
    assert json.loads(web.to("/echo")[0].body) == {"token": token}
    session = await caller.call("GET", "/v1/sessions/with-secrets")
    assert "[secret]" in json.dumps(session.body)
    shown = json.dumps([run, await caller.events(run["id"])], ensure_ascii=False)
    assert shown.count("[secret]") > 5
    assert run["output"]["all"][1] == "say [secret] loudly"
    deltas = [e["data"].get("text", "") for e in await caller.events(run["id"]) if e["type"] == "node.delta"]
    assert "".join(deltas) == "say [secret] loudly"
    streamed = await caller.call("GET", f"/v1/runs/{run['id']}/events", headers={"Accept": "application/json"})
    assert spoken.split()[1] not in json.dumps(streamed.body)
    exported = json.dumps((await caller.call("GET", "/v1/flows/uses-secrets")).body)
    assert token not in exported
    assert traces(caller.stack.data, token) == []
    assert traces(caller.stack.data, spoken) == []


async def test_a_secret_that_a_model_says_piece_by_piece_is_masked(caller: Caller, model_port: int) -> None:
    secret = f"staple-{os.urandom(12).hex()}"
    await put(caller, "SAID", secret)
    asks = node("llm", "prompt", model="openai/gpt-x", prompt="{{ secret.SAID }}")
    deployment = await caller.deploy(chain("says-secret", node("in", "api_input", fields=ASKS), asks))
    words = ["It is ", secret[:4], secret[4:20], secret[20:], ", or stap", "ler."]
    async with model(model_port, words, reasoning=[secret[:9], secret[9:]], pause_seconds=0.1) as said:
        run = await run_of(caller, deployment)
    assert said.asked[0]["messages"][-1]["content"] == secret
    assert run["output"]["text"] == "It is [secret], or stapler."
    deltas = [e["data"] for e in await caller.events(run["id"]) if e["type"] == "node.delta"]
    assert len(deltas) > 2
    assert "".join(delta.get("text", "") for delta in deltas) == "It is [secret], or stapler."
    assert "".join(delta.get("reasoning", "") for delta in deltas) == "[secret]"
    assert traces(caller.stack.data, secret[:20]) == []


async def test_what_a_failure_says_is_masked_too(caller: Caller, web: Target) -> None:
    host = f"h{os.urandom(10).hex()}"
    await put(caller, "HOST", host)
    document = chain(
        "fails-with-secret",
        node("in", "api_input", fields=ASKS),
        node("ask", "http_request", url="http://{{ secret.HOST }}.invalid/"),
    )
    run = await run_of(caller, await caller.deploy(document))
    assert run["status"] == "failed"
    assert "[secret].invalid" in run["error"]["message"]
    assert traces(caller.stack.data, host) == []


async def test_a_secret_that_is_not_set_fails_the_node_until_it_is(caller: Caller) -> None:
    document = chain(
        "wants-secret",
        node("in", "api_input", fields=ASKS),
        node("made", "template", value={"n": "{{ secret.LATE | length }}"}),
    )
    odd = chain(
        "wants-odd-secret",
        node("in", "api_input", fields=ASKS),
        node("made", "template", text='{{ secret["a\\u0000b"] }}'),
    )
    assert (await run_of(caller, await caller.deploy(odd)))["error"]["node"] == "made"
    deployment = await caller.deploy(document)
    run = await run_of(caller, deployment)
    assert (run["error"]["code"], run["error"]["node"]) == ("node_failed", "made")
    assert "LATE" in run["error"]["message"]
    await put(caller, "LATE", "four and more")
    assert (await run_of(caller, deployment))["output"] == {"n": 13}
    await put(caller, "LATE", "four")

    async def is_in_force() -> bool:
        return bool((await run_of(caller, deployment))["output"] == {"n": 4})

    await until(is_in_force, 8)


async def test_the_change_of_a_secret_is_on_the_log_by_name(caller: Caller) -> None:
    value = canary()
    await put(caller, "AUDITED", value)
    await caller.call("DELETE", "/v1/secrets/AUDITED")
    blocks = b"".join(path.read_bytes() for path in (caller.stack.data / "nats").rglob("*.blk"))
    assert b'"type":"secret.set"' in blocks
    assert b'"type":"secret.deleted"' in blocks
    assert b'"name":"AUDITED"' in blocks
    assert traces(caller.stack.data, value) == []


async def test_a_run_that_is_taken_over_sends_the_secret_and_reads_the_file(
    stack: Stack, caller: Caller, web: Target
) -> None:
    token = canary()
    await put(caller, "TAKEN", token)
    fields = [{"name": "text", "type": "string"}, {"name": "doc", "type": "file"}]
    document = chain(
        "taken-over",
        node("in", "api_input", fields=fields),
        node("made", "template", value={"token": "{{ secret.TAKEN }}"}),
        node("wait", "http_request", method="POST", url=web.url("/wait")),
        node("ask", "http_request", method="POST", url=web.url("/ask"), body=["{{ made.token }}", "{{ in.doc.text }}"]),
    )
    deployment = await caller.deploy(document)
    web.answer("/doc.txt", [Prepared(body=b"the first bytes"), Prepared(body=b"other bytes")])
    web.hold("/wait")
    body = {"input": {"doc": {"url": web.url("/doc.txt")}}, "mode": "async"}
    run_id = (await caller.call("POST", f"/v1/deployments/{deployment}/runs", body)).run_id
    await web.received("/wait")
    started = (await caller.saw(run_id, "run.started"))["data"]["executor"]
    index = int(started.split("-")[1])
    old = stack.kill("executor", index)
    await web.received("/wait", 2)
    web.release("/wait")
    run = await caller.ended(run_id)
    assert run["status"] == "completed", run
    assert json.loads(web.to("/ask")[0].body) == [token, "the first bytes"]
    assert len(web.to("/doc.txt")) == 1
    assert traces(stack.data, token) == []
    await asyncio.to_thread(stack.restarted, "executor", index, old)


async def test_a_replay_gets_back_what_the_log_does_not_hold(caller: Caller, web: Target) -> None:
    token = canary()
    await put(caller, "AGAIN", token)
    fields = [{"name": "doc", "type": "file"}]
    document = chain(
        "replayed",
        node("in", "api_input", fields=fields),
        node("made", "template", value={"token": "{{ secret.AGAIN }}"}),
        node("ask", "http_request", method="POST", url=web.url("/ask"), body=["{{ made.token }}", "{{ in.doc.text }}"]),
    )
    deployment = await caller.deploy(document)
    web.answer("/doc.txt", [Prepared(body=b"the first bytes"), Prepared(body=b"other bytes")])
    body = {"input": {"doc": web.url("/doc.txt")}, "mode": "sync"}
    run = (await caller.call("POST", f"/v1/deployments/{deployment}/runs", body)).body
    replay = await caller.call("POST", f"/v1/runs/{run['id']}/replay", {"from_node": "ask"})
    assert (await caller.ended(replay.body["id"]))["status"] == "completed"
    assert [json.loads(each.body) for each in web.to("/ask")] == [[token, "the first bytes"]] * 2
    assert len(web.to("/doc.txt")) == 1
    assert traces(caller.stack.data, token) == []


async def test_without_postgresql_a_run_that_needs_it_waits_and_others_do_not(stack: Stack, caller: Caller) -> None:
    await put(caller, "PATIENT", "worth the wait")
    needs = await caller.deploy(
        chain(
            "needs-postgres",
            node("in", "api_input", fields=ASKS),
            node("made", "template", value={"n": "{{ secret.PATIENT | length }}"}),
        )
    )
    does_not = await caller.deploy(
        chain("needs-none", node("in", "api_input", fields=ASKS), node("made", "template", value="{{ in.text }}"))
    )
    old = stack.kill("postgres")
    seen: set[int] = set()

    async def is_refused() -> bool:
        seen.add((await caller.call("GET", "/v1/secrets")).status)
        return 503 in seen

    await until(is_refused, 8)
    waiting = asyncio.create_task(run_of(caller, needs))
    assert (await run_of(caller, does_not, "at once"))["output"] == "at once"
    run = await waiting
    assert seen <= {200, 503}
    assert (run["status"], run["output"]) == ("completed", {"n": 14})
    await asyncio.to_thread(stack.restarted, "postgres", 0, old)
