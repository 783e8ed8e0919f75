"""A walk through everything that the API can do, so that every service does on NATS whatever it ever does."""

import asyncio
import json
from typing import Any

import aiohttp

from tests.e2e.caller import ENDS, until
from tests.e2e.flows import chain, output, prompt, template


class Visitor:
    """Calls one gateway with one key; every answer has to have the status that is expected."""

    def __init__(self, session: aiohttp.ClientSession, gateway: str, key: str) -> None:
        self._session = session
        self._gateway = gateway
        self._key = key

    async def call(self, method: str, path: str, body: Any = None, *, expect: int = 200, **more: Any) -> Any:
        """One call; its answer's body as JSON."""
        headers = {"Authorization": f"Bearer {self._key}", **more.pop("headers", {})}
        async with self._session.request(method, self._gateway + path, json=body, headers=headers, **more) as answer:
            text = await answer.text()
            assert answer.status == expect, f"{method} {path}: {answer.status} {text}"
            return (
                json.loads(text)
                if answer.content_type in ("application/json", "application/problem+json") and text
                else text
            )

    def at(self, gateway: str) -> "Visitor":
        """The same at another address."""
        return Visitor(self._session, gateway, self._key)

    async def knows(self, *deployments: str) -> bool:
        """Whether the gateway has heard of them."""
        try:
            for each in deployments:
                await self.call("GET", f"/v1/deployments/{each}")
        except AssertionError:
            return False
        return True

    def with_key(self, key: str) -> "Visitor":
        """The same with another key."""
        return Visitor(self._session, self._gateway, key)

    async def deploy(self, document: dict[str, Any], **options: Any) -> str:
        """Save a flow and deploy it; the deployment's id."""
        flow = await self.call("POST", "/v1/flows", document, expect=201)
        made = await self.call("POST", f"/v1/flows/{flow['id']}/deployments", options, expect=201)
        deployment: str = made["id"]
        return deployment

    async def run(self, deployment: str, *, expect: int = 200, **wish: Any) -> dict[str, Any]:
        """Ask for a run."""
        body = {"input": {"text": "x"}, **wish}
        run: dict[str, Any] = await self.call("POST", f"/v1/deployments/{deployment}/runs", body, expect=expect)
        return run

    async def ended(self, run_id: str) -> dict[str, Any]:
        """A run, once it is over."""
        run: dict[str, Any] = {}

        async def over() -> bool:
            nonlocal run
            run = await self.call("GET", f"/v1/runs/{run_id}")
            return run["status"] in ("completed", "failed", "cancelled")

        await until(over)
        return run


async def deployed(visitor: Visitor) -> tuple[str, str]:
    """A flow that answers at once and one that asks a model."""
    quick = await visitor.deploy(chain(template("say", "said: {{ in.text }}"), output("{{ say.text }}")))
    slow = await visitor.deploy(chain(prompt("llm", "openai/slow"), output("{{ llm.text }}")))
    return quick, slow


async def tour(visitor: Visitor, notifier: str, quick: str, slow: str) -> None:
    """All of it."""
    async with asyncio.TaskGroup() as group:
        for part in (_runs(visitor, quick, slow), _streams(visitor, notifier, slow), _sessions(visitor, quick)):
            group.create_task(part)
        for part in (_stored(visitor), _limited(visitor), _keys(visitor), _webhooks(visitor)):
            group.create_task(part)
    await visitor.call("GET", "/v1/audit/events?format=ndjson")
    await visitor.call("GET", "/v1/operations/dead-letters")
    status = await visitor.call("GET", "/v1/operations/status")
    assert {each["service"] for each in status["services"]} == {"gateway", "auth", "executor", "notifier"}
    await visitor.call("GET", "/v1/usage?group_by=deployment")
    await visitor.call("GET", f"/v1/runs?deployment_id={quick}")
    await visitor.call("GET", "/v1/operations/status")
    await visitor.call("GET", "/v1/operations/dead-letters")


async def _runs(visitor: Visitor, quick: str, slow: str) -> None:
    first = await visitor.run(quick)
    assert (first["status"], first["output"]) == ("completed", "said: x")
    again = await visitor.call("POST", f"/v1/runs/{first['id']}/replay", {"from_node": "say"}, expect=202)
    assert (await visitor.ended(again["id"]))["output"] == "said: x"
    cancelled = await visitor.run(slow, mode="async", expect=202)
    await visitor.call("POST", f"/v1/runs/{cancelled['id']}/cancel", expect=202)
    assert (await visitor.ended(cancelled["id"]))["status"] == "cancelled"
    delay = {"id": "wait", "type": "delay", "config": {"seconds": 1.2}}
    assert (await visitor.run(await visitor.deploy(chain(delay))))["output"] == {}
    cached = await visitor.deploy(chain(template("say", "{{ in.text }}"), output("{{ say.text }}")), cache_seconds=60)
    assert (await visitor.run(cached))["id"]
    await visitor.run(cached)
    await visitor.call("PATCH", f"/v1/deployments/{cached}", {"mode": "async"})
    await visitor.call("POST", f"/v1/deployments/{cached}/undeploy")
    await visitor.call("DELETE", f"/v1/deployments/{cached}", expect=204)


async def _streams(visitor: Visitor, notifier: str, slow: str) -> None:
    run = await visitor.run(slow, mode="async", expect=202)
    readers = (visitor, visitor.at(notifier))
    texts = await asyncio.gather(
        *(
            reader.call("GET", f"/v1/runs/{run['id']}/events", headers={"Accept": "text/event-stream"})
            for reader in readers
        )
    )
    for text in texts:
        assert any(f"event: {end}" in text for end in ENDS), text
        assert "node.delta" in text


async def _sessions(visitor: Visitor, quick: str) -> None:
    for _ in range(2):
        await visitor.run(quick, session_id="talk")
    session = await visitor.call("GET", "/v1/sessions/talk")
    assert len(session["turns"]) == 2, session
    await visitor.call("DELETE", "/v1/sessions/talk", expect=204)


async def _stored(visitor: Visitor) -> None:
    await visitor.call("PUT", "/v1/secrets/token", {"value": "a value nobody sees"}, expect=201)
    await visitor.call("POST", "/v1/collections", {"name": "notes"}, expect=201)
    documents = {"documents": [{"text": "The cluster has three servers."}]}
    await visitor.call("POST", "/v1/collections/notes/documents", documents, expect=201)
    found = {"id": "found", "type": "retriever", "config": {"collection": "notes", "query": "servers", "k": 1}}
    reading = await visitor.deploy(chain(template("say", "{{ secret.token }}"), found, output("{{ found.documents }}")))
    run = await visitor.run(reading)
    assert run["output"][0]["text"] == "The cluster has three servers.", run
    await visitor.call("DELETE", "/v1/secrets/token", expect=204)


async def _limited(visitor: Visitor) -> None:
    """More runs at once than the plan's slots: they are held, and fed to executors as slots come free."""
    made = await visitor.call("POST", "/v1/workspaces", {"name": "small", "plan": "free"}, expect=201)
    tenant = visitor.with_key(made["admin_key"])
    quick = await tenant.deploy(chain(template("say", "{{ in.text }}"), output("{{ say.text }}")))
    inputs = {"inputs": [{"text": str(number)} for number in range(8)]}
    batch = await tenant.call("POST", f"/v1/deployments/{quick}/batch", inputs, expect=202)
    for run in batch["runs"]:
        assert (await tenant.ended(run["id"]))["status"] == "completed"
    await visitor.call("PATCH", f"/v1/workspaces/{made['id']}", {"plan": "pro"})


async def _keys(visitor: Visitor) -> None:
    key = await visitor.call("POST", "/v1/keys", {"name": "reader", "permissions": ["read"]}, expect=201)
    await visitor.with_key(key["key"]).call("GET", "/v1/flows")
    rotated = await visitor.call("POST", f"/v1/keys/{key['id']}/rotate", {})
    await visitor.with_key(rotated["key"]).call("GET", "/v1/flows")
    await visitor.call("DELETE", f"/v1/keys/{key['id']}", expect=204)
    await visitor.with_key(rotated["key"]).call("GET", "/v1/flows", expect=401)


async def _webhooks(visitor: Visitor) -> None:
    """To a name that nobody has: it is tried, it fails, it is noted, and it is tried again by a timer."""
    said = await visitor.deploy(chain(template("say", "{{ in.text }}"), output("{{ say.text }}")))
    wish = {"url": "https://hooks.invalid/", "events": ["flow_completed", "component_completed"], "deployment_id": said}
    hook = await visitor.call("POST", "/v1/webhooks", wish, expect=201)
    await visitor.run(said)

    async def tried() -> bool:
        deliveries = (await visitor.call("GET", f"/v1/webhooks/{hook['id']}/deliveries"))["data"]
        return {"flow_completed", "component_completed"} <= {
            each["event"] for each in deliveries if each["attempt_count"]
        }

    await until(tried, 30)
    deliveries = (await visitor.call("GET", f"/v1/webhooks/{hook['id']}/deliveries"))["data"]
    await visitor.call("POST", f"/v1/deliveries/{deliveries[0]['id']}/redeliver", expect=202)
    await visitor.call("POST", f"/v1/webhooks/{hook['id']}/test", expect=202)
    await visitor.call(
        "POST",
        f"/v1/webhooks/{hook['id']}/redeliver",
        {"since": deliveries[-1]["created_at"], "which": "all"},
        expect=202,
    )
    await visitor.call("POST", f"/v1/webhooks/{hook['id']}/rotate-secret")
    await visitor.call("DELETE", f"/v1/webhooks/{hook['id']}", expect=204)
