"""Which keys open the API: every way to send one, and every way that one is no longer, or never was, good."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.client import Caller
from tests.api.contract import check_problem

LIST = "/v1/flows"
SHAPED = "sk-" + "x" * 47


async def status(caller: Caller, headers: list[tuple[str, str]], path: str = LIST) -> int:
    """What a request with just these headers is answered; a 401 is held to say how to do better."""
    async with caller.session.get(caller.urls[0] + path, headers=headers) as response:
        if response.status == 401:
            problem = check_problem(401, response.headers, await response.read(), str(headers))
            assert problem["code"] == "unauthorized"
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
        return response.status


async def test_a_key_is_taken_from_each_of_the_three_headers(caller: Caller) -> None:
    key = caller.key
    bearer = ("Authorization", f"Bearer {key}")
    for headers in (
        [bearer],
        [("Authorization", f"bearer   {key}")],
        [("X-API-Key", key)],
        [("api-key", key)],
        [("API-KEY", key)],
        [bearer, ("X-API-Key", key), ("api-key", key)],
    ):
        assert await status(caller, headers) == 200, headers


async def test_two_keys_that_differ_are_refused_even_if_both_are_good(caller: Caller, stranger: Caller) -> None:
    mine, theirs = caller.key, stranger.key
    for headers in (
        [("Authorization", f"Bearer {mine}"), ("X-API-Key", theirs)],
        [("X-API-Key", mine), ("api-key", theirs)],
        [("X-API-Key", mine), ("X-API-Key", theirs)],
        [("Authorization", f"Bearer {mine}"), ("Authorization", f"Bearer {theirs}")],
        [("X-API-Key", mine), ("api-key", SHAPED)],
    ):
        assert await status(caller, headers) == 401, headers


@pytest.mark.parametrize(
    "name", ["key", "api_key", "api-key", "apikey", "X-API-Key", "access_token", "authorization", "token"]
)
async def test_a_key_in_the_url_opens_nothing(caller: Caller, name: str) -> None:
    assert await status(caller, [], f"{LIST}?{name}={caller.key}") == 401


async def test_what_is_no_key_of_ours_is_a_401(caller: Caller) -> None:
    turned = caller.key[:-1] + ("a" if caller.key[-1] != "a" else "b")
    near = [turned, caller.key[:-1], caller.key + "x", caller.key.upper()]
    for key in [*near, SHAPED, SHAPED * 9, "sk-", "x", "é" * 40]:
        assert await status(caller, [("X-API-Key", key)]) == 401, key
    for value in ("", "Bearer", f"Basic {caller.key}", caller.key, f"Token {caller.key}"):
        assert await status(caller, [("Authorization", value)]) == 401, value
    assert await status(caller, []) == 401


async def test_every_documented_call_needs_a_key(caller: Caller) -> None:
    nobody = caller.having(SHAPED)
    for method, path in caller.contract.operations:
        answer = await nobody.call(method, path.replace("{", "").replace("}", ""))
        assert answer.status == 401, (method, path)


End = Callable[[Caller, dict[str, Any]], Awaitable[Any]]

ENDS: dict[str, End] = {
    "revoked": lambda admin, key: admin.delete(f"/v1/keys/{key['id']}"),
    "deactivated": lambda admin, key: admin.patch(f"/v1/keys/{key['id']}", {"active": False}),
    "rotated": lambda admin, key: admin.post(f"/v1/keys/{key['id']}/rotate", {"grace_seconds": 0}),
}


@pytest.mark.parametrize("how", list(ENDS))
async def test_a_key_that_ended_is_refused_by_the_other_gateway_within_a_second(caller: Caller, how: str) -> None:
    made = await caller.post("/v1/keys", {"name": "short", "permissions": ["read"]}, expect=201)
    holder = caller.having(made["key"])
    for gateway in (0, 1):
        await holder.at(gateway).get(LIST)
    await ENDS[how](caller.at(0), made)
    assert await _refused_after(holder.at(0)) < 1.0
    assert await _refused_after(holder.at(1)) < 1.0


async def test_a_deactivated_key_works_again_when_it_is_activated(caller: Caller) -> None:
    made = await caller.post("/v1/keys", {"name": "nap", "permissions": ["read"]}, expect=201)
    await caller.patch(f"/v1/keys/{made['id']}", {"active": False})
    await caller.at(1).patch(f"/v1/keys/{made['id']}", {"active": True})
    async with asyncio.timeout(1):
        while (await caller.having(made["key"]).call("GET", LIST)).status != 200:
            pass


async def test_a_rotated_key_works_until_its_grace_ends(caller: Caller) -> None:
    made = await caller.post("/v1/keys", {"name": "two", "permissions": ["read"]}, expect=201)
    rotated = await caller.post(f"/v1/keys/{made['id']}/rotate", {"grace_seconds": 1})
    ends = asyncio.get_running_loop().time() + 1
    assert (rotated["id"], rotated["key"] == made["key"]) == (made["id"], False)
    old, new = caller.having(made["key"]), caller.having(rotated["key"])
    await old.get(LIST)
    await new.at(1).get(LIST)
    await _refused_after(old.at(1))
    assert asyncio.get_running_loop().time() >= ends - 0.1
    await new.get(LIST)


async def test_a_key_is_refused_from_the_moment_it_expires(caller: Caller) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=1)
    wish = {"name": "brief", "permissions": ["read"], "expires_at": expires_at.isoformat()}
    made = await caller.post("/v1/keys", wish, expect=201)
    holder = caller.having(made["key"])
    await holder.get(LIST)
    await _refused_after(holder)
    assert datetime.now(UTC) >= expires_at - timedelta(seconds=0.1)
    assert (await holder.at(1).call("GET", LIST)).status == 401


async def _refused_after(holder: Caller) -> float:
    """How many seconds pass until a key is refused; fails after five."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(5):
        while (await holder.call("GET", LIST)).status != 401:
            pass
    return loop.time() - began
