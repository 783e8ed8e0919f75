"""A caller of the API with one key, whose every answer is held to the contract."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import msgspec

from tests.api.contract import Contract
from tests.flows.documents import greeter

_TIMEOUT = aiohttp.ClientTimeout(total=20)


class Answer(msgspec.Struct, frozen=True):
    """A whole response. The names of `headers` have no case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def pointers(self) -> list[str]:
        """Where the faults are that a problem names."""
        return sorted(fault["pointer"] for fault in self.json["errors"])


class Caller:
    """`await caller.post("/v1/flows", {...}, expect=201)`; fails on any other status."""

    def __init__(
        self, session: aiohttp.ClientSession, urls: list[str], key: str, contract: Contract, workspace: str = ""
    ) -> None:
        self.workspace = workspace
        self.urls = urls
        self.key = key
        self.session = session
        self.contract = contract

    def at(self, gateway: int) -> "Caller":
        """The same caller at another gateway."""
        return Caller(self.session, [self.urls[gateway]], self.key, self.contract, self.workspace)

    def having(self, key: str, workspace: str = "") -> "Caller":
        """Somebody else, with another key."""
        return Caller(self.session, self.urls, key, self.contract, workspace)

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send and check; `raw` instead of JSON sends bytes as they are."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        url = self.urls[0] + path
        async with self.session.request(method, url, data=data, headers=sent, timeout=_TIMEOUT) as response:
            answer = Answer(response.status, response.headers, await response.read())
        self.contract.check(method, path, answer.status, answer.headers, answer.content)
        return answer

    async def get(self, path: str, *, expect: int = 200) -> Any:
        return _expected(await self.call("GET", path), expect)

    async def post(self, path: str, body: Any = None, *, expect: int = 200, **more: Any) -> Any:
        return _expected(await self.call("POST", path, body, **more), expect)

    async def put(self, path: str, body: Any, *, expect: int = 200) -> Any:
        return _expected(await self.call("PUT", path, body), expect)

    async def patch(self, path: str, body: Any, *, expect: int = 200) -> Any:
        return _expected(await self.call("PATCH", path, body), expect)

    async def delete(self, path: str, *, expect: int = 204) -> Any:
        return _expected(await self.call("DELETE", path), expect)

    async def deploy(self, document: dict[str, Any] | None = None, **wish: Any) -> dict[str, Any]:
        """Save a flow (the greeter) and deploy it; the deployment, with its key."""
        flow = await self.post("/v1/flows", document or greeter(), expect=201)
        made: dict[str, Any] = await self.post(f"/v1/flows/{flow['id']}/deployments", wish, expect=201)
        return made

    async def settle(self) -> None:
        """Wait until each gateway knows the flows and deployments that the other was told of before.

        They learn them in the order of the log, so what is said last is known last.
        """
        here, there = self.at(0), self.at(1)
        flow = await here.post("/v1/flows", {**greeter(), "slug": "known-last"}, expect=201)
        async with asyncio.timeout(5):
            while (await there.call("GET", f"/v1/flows/{flow['id']}")).status != 200:
                pass
            await there.delete(f"/v1/flows/{flow['id']}")
            while (await here.call("GET", f"/v1/flows/{flow['id']}")).status != 404:
                pass

    async def pages(self, path: str, limit: int) -> list[Any]:
        """The items of a list, page by page."""
        found: list[Any] = []
        cursor = ""
        sign = "&" if "?" in path else "?"
        while True:
            page = await self.get(f"{path}{sign}limit={limit}{cursor}")
            assert len(page["data"]) <= limit
            found += page["data"]
            if page["next_cursor"] is None:
                return found
            cursor = f"&cursor={page['next_cursor']}"


def _expected(answer: Answer, status: int) -> Any:
    assert answer.status == status, answer.content.decode()
    return answer.json if answer.content else None
