"""A key and a secret, planted wherever a caller may put them, and nowhere to be found afterwards.

The key is sent in each header that takes one, wrong by a letter, and in a URL; the secret is read by nodes of every
sort, sent outward, echoed back, quoted in failures. Then every log, event, export, metric and audit line is read.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.api.client import Caller
from tests.flows.documents import chain, node
from tests.stack import Stack

SECRET = 'canary-secret-7f3d/é"b1c9'
INPUT = "canary-input-52aa9e"


_RETRY = {"max_attempts": 2, "backoff_seconds": 0.1}
_TALK = {"model": "echo/words", "stream": True}


@pytest.fixture
async def echo() -> AsyncIterator[str]:
    """A server that says everything back; with status 500 on `/broken`, 404 on `/refused`."""

    async def answer(request: web.Request) -> web.Response:
        said = {"headers": dict(request.headers), "body": (await request.read()).decode(), "url": str(request.url)}
        status = {"/broken": 500, "/refused": 404}.get(request.path, 200)
        return web.json_response(said, status=status, headers={"X-Said": json.dumps(SECRET)})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site.name
    await runner.cleanup()


def telling(address: str, path: str) -> dict[str, Any]:
    """A flow that hands its secret to everything."""
    called = {"url": f"{address}{path}", "method": "POST", "headers": {"X-Token": "{{ secret.canary }}"}}
    return chain(
        node("in", "api_input", {"fields": [{"name": "text", "type": "string"}]}),
        node("say", "template", {"text": "{{ secret.canary }} and {{ in.text }}"}),
        node(
            "call",
            "http_request",
            {**called, "body": {"said": "{{ say.text }}"}},
            retry={"max_attempts": 2, "backoff_seconds": 0.1},
        ),
        node(
            "talk", "prompt", {"model": "echo/words", "prompt": "{{ say.text }} {{ call.body.body }}", "stream": True}
        ),
        node("out", "api_output", {"value": "{{ talk.text }} {{ call.headers }}"}),
    )


async def test_a_secret_and_a_key_are_nowhere_they_should_not_be(stack: Stack, owner: Caller, echo: str) -> None:
    await owner.call("PUT", "/v1/secrets/canary", {"value": SECRET})
    made = await owner.post("/v1/keys", {"name": "canary", "permissions": ["admin"]}, expect=201)
    holder = owner.having(made["key"])
    shown: list[bytes] = []
    runs: list[str] = []
    for path in ("/well", "/broken", "/refused"):
        document = {**telling(echo, path), "slug": f"tells{path.replace('/', '-')}"}
        deployment = await holder.deploy(document)
        wish = {"input": {"text": INPUT}, "metadata": {"about": "it"}}
        run = await holder.post(f"/v1/deployments/{deployment['id']}/runs", wish)
        runs.append(run["id"])
        shown.append(json.dumps(run).encode())
        flow = f"/v1/flows/{deployment['flow_id']}"
        shown += [await read(holder, f"{flow}/export?format={each}") for each in ("json", "python")]
        await holder.call("GET", f"/v1/runs?session_id=x&api_key={made['key']}")
    for name in ("Authorization", "X-API-Key", "api-key"):
        async with holder.session.get(owner.urls[0] + "/v1/flows", headers={name: made["key"] + "x"}) as answer:
            assert answer.status == 401
            shown.append(await answer.read())
    tables = ("/v1/keys", "/v1/secrets", "/v1/usage?group_by=key", "/v1/runs", "/v1/audit/events?format=ndjson")
    shown += [await read(holder, path) for path in (*tables, *[f"/v1/runs/{run_id}/events" for run_id in runs])]
    ours = [each for each in stack.processes() if each["service"] not in ("nats", "postgres")]
    measured = [await metrics(owner, each["url"]) for each in ours]
    logged = contents(stack.data / "logs")
    kept = contents(stack.data / "nats")
    for where, texts in {"shown": shown, "metrics": measured, "logs": logged, "the log's disk": kept}.items():
        for form in forms(SECRET, made["key"]):
            assert not any(form in text for text in texts), f"{form!r} is in {where}"
    for where, texts in {"metrics": measured, "logs": logged}.items():
        assert not any(INPUT.encode() in text for text in texts), f"an input is in {where}"
    assert any(INPUT.encode() in text for text in kept), "the log is not where this test looks"
    assert any(b'"service"' in text for text in logged), "the logs are not where this test looks"


def forms(*values: str) -> list[bytes]:
    """A value as it is, and as JSON has it."""
    return [form for value in values for form in (value.encode(), json.dumps(value)[1:-1].encode())]


async def metrics(owner: Caller, url: str) -> bytes:
    """What a process measures."""
    async with owner.session.get(f"{url}/metrics") as answer:
        assert answer.status == 200
        return await answer.read()


async def read(caller: Caller, path: str) -> bytes:
    """What is answered."""
    answer = await caller.call("GET", path)
    assert answer.status == 200, answer.content
    return answer.content


def contents(folder: Path) -> list[bytes]:
    """What the files below a folder hold."""
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
