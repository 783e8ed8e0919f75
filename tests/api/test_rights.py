"""Who may do what: every documented call by each right, and every call with another workspace's ids."""

import re
from typing import Any

from tests.api.client import Caller
from tests.api.contract import Contract
from tests.flows.documents import greeter

RIGHTS = ("read", "execute", "write", "admin")
STARTS_RUNS = re.compile(r"/(runs|cancel|replay|batch|hook)$")
FORGETS = "/v1/sessions/"
ABOUT_RUNS = re.compile(r"^/v1/(runs|batches|sessions|files)(/|$)")


OPERATIONS = "/v1/operations"
"""The installation's, and so the root workspace's admin's alone: whoever else asks hears no more of it than that."""


def allowed(method: str, path: str) -> set[str]:
    """The rights of which each suffices, from the contract's words."""
    if path.startswith(("/v1/keys", "/v1/workspaces", "/v1/audit", OPERATIONS)):
        return {"admin"}
    if (method == "POST" and STARTS_RUNS.search(path)) or (method == "DELETE" and path.startswith(FORGETS)):
        return {"execute", "admin"}
    if method == "GET":
        return {"read", "execute", "admin"} if ABOUT_RUNS.search(path) else {"read", "admin"}
    return {"write", "admin"}


async def test_every_call_is_open_to_just_the_rights_it_needs(root: Caller, contract: Contract) -> None:
    holders = {}
    for right in RIGHTS:
        made = await root.post("/v1/keys", {"name": right, "permissions": [right]}, expect=201)
        holders[right] = root.having(made["key"])
    assert len(contract.operations) >= 30
    for method, path in contract.operations:
        for right, holder in holders.items():
            answer = await holder.call(method, path.replace("{", "").replace("}", ""), raw=b"[]")
            expected = right in allowed(method, path)
            assert (answer.status != 403) is expected, f"{right}: {method} {path} → {answer.status}"
            assert expected or answer.json["code"] == "forbidden"


async def test_rights_add_up_and_do_not_imply_each_other(caller: Caller) -> None:
    deployment = await caller.deploy()
    runs = f"/v1/deployments/{deployment['id']}/runs"
    wish = {"name": "reads and writes", "permissions": ["write", "read"]}
    holder = caller.having((await caller.post("/v1/keys", wish, expect=201))["key"])
    await holder.get("/v1/flows/greeter")
    await holder.put("/v1/flows/greeter", greeter())
    await holder.post(runs, {"input": {"name": "Ada"}}, expect=403)
    await holder.get("/v1/keys", expect=403)


MAKES_ITS_OWN = ("PUT", "/v1/secrets/{name}")
"""A name is the workspace's own: whatever another one has by it, this makes one's own."""

WEBHOOK = {"url": "http://127.0.0.1:8/", "events": ["flow_completed"]}

BODIES: dict[tuple[str, str], Any] = {
    ("PUT", "/v1/flows/{flow_id}"): {**greeter(), "description": "hijacked"},
    ("PATCH", "/v1/deployments/{deployment_id}"): {"name": "hijacked"},
    ("POST", "/v1/deployments/{deployment_id}/runs"): {"input": {"name": "Mallory"}},
    ("POST", "/v1/deployments/{deployment_id}/batch"): {"inputs": [{"name": "Mallory"}]},
    ("POST", "/v1/collections/{name}/documents"): {"documents": [{"text": "hijacked"}]},
    ("PATCH", "/v1/webhooks/{webhook_id}"): {"url": "https://hijacked.example"},
    ("POST", "/v1/webhooks/{webhook_id}/redeliver"): {"since": "2020-01-01T00:00:00Z", "which": "all"},
    ("PATCH", "/v1/keys/{key_id}"): {"name": "hijacked"},
    ("PATCH", "/v1/workspaces/{workspace_id}"): {"plan": "free"},
}


async def test_what_is_another_workspace_s_is_a_404_everywhere(caller: Caller, stranger: Caller) -> None:
    deployment = await caller.deploy()
    run = await caller.post(f"/v1/deployments/{deployment['id']}/runs", {"input": {"name": "Ada"}})
    key = (await caller.get("/v1/keys"))["data"][0]
    webhook = await caller.post("/v1/webhooks", WEBHOOK, expect=201)
    test = await caller.post(f"/v1/webhooks/{webhook['id']}/test", expect=202)
    ids = {
        "flow_id": deployment["flow_id"],
        "deployment_id": deployment["id"],
        "run_id": run["id"],
        "key_id": key["id"],
        "webhook_id": webhook["id"],
        "delivery_id": test["delivery_id"],
        "workspace_id": caller.workspace,
        "version": "1",
    }
    before = await _everything(caller)
    tried = 0
    for method, template in caller.contract.operations:
        if "{" not in template or (method, template) == MAKES_ITS_OWN:
            continue
        path = re.sub(r"{(\w+)}", lambda name: ids.get(name[1], "unknown"), template)
        for gateway in (0, 1):
            answer = await stranger.at(gateway).call(method, path, BODIES.get((method, template), {}))
            expected = (403, "forbidden") if template.startswith(OPERATIONS) else (404, "not_found")
            assert (answer.status, answer.json["code"]) == expected, f"{method} {template}"
            tried += 1
    assert tried >= 40
    for slug in ("greeter",):
        await stranger.get(f"/v1/flows/{slug}", expect=404)
        await stranger.post(f"/v1/deployments/{slug}/runs", {"input": {"name": "x"}}, expect=404)
    for path in (
        "/v1/webhooks",
        "/v1/deliveries",
        "/v1/flows",
        "/v1/deployments",
        "/v1/runs",
        f"/v1/runs?flow_id={deployment['flow_id']}",
    ):
        assert (await stranger.get(path))["data"] == []
    assert await _everything(caller) == before


async def _everything(caller: Caller) -> list[Any]:
    paths = ("/v1/webhooks", "/v1/flows/greeter", "/v1/deployments", "/v1/runs", "/v1/keys")
    return [await caller.get(path) for path in paths]
