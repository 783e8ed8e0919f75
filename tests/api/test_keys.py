"""Keys and workspaces over HTTP: made, shown once, masked, listed, changed; on whichever gateway."""

import asyncio
from typing import Any

import pytest

from tests.api.client import Caller


async def test_a_key_is_shown_once_and_masked_ever_after(caller: Caller) -> None:
    wish = {"name": "  CI  ", "permissions": ["execute", "read"]}
    made = await caller.post("/v1/keys", wish, expect=201)
    key: str = made.pop("key")
    assert key.startswith("sk-")
    assert made["masked"] == f"{key[:8]}********{key[-5:]}"
    assert (made["name"], made["permissions"], made["active"]) == ("CI", ["read", "execute"], True)
    assert await caller.at(1).get(f"/v1/keys/{made['id']}") == made
    listed = (await caller.at(1).get("/v1/keys"))["data"]
    assert listed[0] == made
    assert all(set(each) == set(made) for each in listed)
    renamed = await caller.at(1).patch(f"/v1/keys/{made['id']}", {"name": "CD"})
    assert renamed == {**made, "name": "CD"}


async def test_a_list_of_keys_shows_each_once_newest_first(caller: Caller) -> None:
    names = [f"key {number}" for number in range(24)]
    for number, name in enumerate(names):
        await caller.at(number % 2).post("/v1/keys", {"name": name, "permissions": ["read"]}, expect=201)
    assert [key["name"] for key in await caller.pages("/v1/keys", 10)] == [*reversed(names), "admin"]


@pytest.mark.parametrize(
    ("wish", "pointer"),
    [
        ({"name": "x", "permissions": []}, "/permissions"),
        ({"name": "x", "permissions": ["read", "root"]}, "/permissions/1"),
        ({"name": "", "permissions": ["read"]}, "/name"),
        ({"name": "a\nb", "permissions": ["read"]}, "/name"),
        ({"name": "x" * 201, "permissions": ["read"]}, "/name"),
        ({"name": "x", "permissions": ["read"], "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"name": "x", "permissions": ["read"], "expires_at": "9999-12-31T23:59:59-23:59"}, "/expires_at"),
        ({"name": "x", "permissions": ["read"], "expires_at": "tomorrow"}, "/expires_at"),
        ({"name": "x", "permissions": ["read"], "deployment_ids": ["a b"]}, "/deployment_ids/0"),
        ({"name": "x", "permissions": ["read"], "deployment_ids": ["d"] * 101}, "/deployment_ids"),
        ({"name": "x", "permissions": ["read"], "surplus": 1}, "/surplus"),
    ],
)
async def test_a_key_that_cannot_be_is_a_400_at_its_place(caller: Caller, wish: dict[str, Any], pointer: str) -> None:
    answer = await caller.call("POST", "/v1/keys", wish)
    assert (answer.status, answer.pointers) == (400, [pointer])
    assert len((await caller.get("/v1/keys"))["data"]) == 1


async def test_no_key_makes_a_key_with_more_rights_than_its_own(caller: Caller) -> None:
    for right in ("read", "execute", "write"):
        made = await caller.post("/v1/keys", {"name": right, "permissions": [right]}, expect=201)
        for wanted in ("read", "execute", "write", "admin"):
            await caller.having(made["key"]).post("/v1/keys", {"name": "x", "permissions": [wanted]}, expect=403)
    bound = {"name": "bound", "permissions": ["admin"], "deployment_ids": ["one"]}
    holder = caller.having((await caller.post("/v1/keys", bound, expect=201))["key"])
    await holder.post("/v1/keys", {"name": "free", "permissions": ["admin"]}, expect=403)
    await holder.post("/v1/keys", {**bound, "deployment_ids": ["two"]}, expect=403)
    await holder.post("/v1/keys", bound, expect=201)


@pytest.mark.parametrize(
    ("grace", "status"), [(0, 200), (604_800, 200), (604_801, 400), (-1, 400), (1.5, 400), ("1", 400), (None, 400)]
)
async def test_a_grace_is_a_week_at_most(caller: Caller, grace: object, status: int) -> None:
    made = await caller.post("/v1/keys", {"name": "x", "permissions": ["read"]}, expect=201)
    await caller.post(f"/v1/keys/{made['id']}/rotate", {"grace_seconds": grace}, expect=status)


async def test_only_the_root_admin_makes_workspaces(root: Caller, caller: Caller) -> None:
    wish = {"name": "more", "plan": "free"}
    await caller.post("/v1/workspaces", wish, expect=403)
    made = await root.at(1).post("/v1/workspaces", {**wish, "limits": {"concurrent_runs": 7}}, expect=201)
    assert (made["plan"], made["limits"]["concurrent_runs"]) == ("free", 7)
    assert made["limits"]["monthly_requests"] == 1_000
    assert (await root.having(made["admin_key"]).get("/v1/flows"))["data"] == []
    changed = await root.patch(f"/v1/workspaces/{made['id']}", {"plan": "pro"})
    assert changed["limits"] == {"concurrent_runs": 20, "monthly_requests": 10_000, "requests_per_second": None}
    await root.having(made["admin_key"]).patch(f"/v1/workspaces/{made['id']}", {"plan": "enterprise"}, expect=403)
    await root.patch("/v1/workspaces/ws_none", {"plan": "pro"}, expect=404)


@pytest.mark.parametrize(
    "wish",
    [
        {"plan": "free"},
        {"name": "x", "plan": "gold"},
        {"name": "x", "plan": "free", "limits": {"concurrent_runs": 0}},
        {"name": "x", "plan": "free", "limits": {"concurrent_runs": 10**30}},
        {"name": "x", "plan": "free", "limits": {"more": 1}},
        {"name": "x", "plan": "free", "limits": []},
    ],
)
async def test_a_workspace_that_cannot_be_is_a_400(root: Caller, wish: dict[str, Any]) -> None:
    answer = await root.call("POST", "/v1/workspaces", wish)
    assert answer.status == 400
    assert answer.pointers


async def test_the_root_admin_sees_its_own_workspace_only(root: Caller, caller: Caller) -> None:
    deployment = await caller.deploy()
    run = await caller.post(f"/v1/deployments/{deployment['id']}/runs", {"input": {"name": "Ada"}})
    for path in (f"/v1/flows/{deployment['flow_id']}", f"/v1/deployments/{deployment['id']}", f"/v1/runs/{run['id']}"):
        await root.get(path, expect=404)
    for path in ("/v1/flows", "/v1/deployments", "/v1/runs"):
        assert not [each for each in await root.pages(path, 100) if each["id"] in (deployment["flow_id"], run["id"])]


async def test_keys_made_at_once_on_two_gateways_are_all_there(caller: Caller) -> None:
    wish = {"name": "x", "permissions": ["read"]}
    made = await asyncio.gather(*[caller.at(n % 2).post("/v1/keys", wish, expect=201) for n in range(10)])
    assert len({each["key"] for each in made}) == 10
    listed = await caller.pages("/v1/keys", 100)
    assert {each["id"] for each in made} < {each["id"] for each in listed}
    await asyncio.gather(*[caller.having(each["key"]).at(n % 2).get("/v1/flows") for n, each in enumerate(made)])
