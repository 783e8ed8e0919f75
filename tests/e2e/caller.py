"""A user of the API: calls any gateway of a stack with the admin's key."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from tests.stack import Stack

_CALL_SECONDS = 40.0
ENDS = ("run.completed", "run.failed", "run.cancelled")


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP answer, its body read as JSON (None: there was none), and how long it took."""

    status: int
    headers: dict[str, str]
    body: Any
    seconds: float

    @property
    def run_id(self) -> str:
        """What the answer is about."""
        return self.headers["Headgate-Run-Id"]


class Caller:
    """Made by `calling`. `gateway` is an index into the stack's gateways."""

    def __init__(self, stack: Stack, session: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.session = session

    async def call(
        self, method: str, path: str, body: Any = None, *, gateway: int = 0, headers: dict[str, str] | None = None
    ) -> Answer:
        """One call."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        data = None if body is None else json.dumps(body)
        url = self.stack.urls[gateway] + path
        async with self.session.request(method, url, data=data, headers=headers) as response:
            text = await response.read()
            return Answer(
                status=response.status,
                headers=dict(response.headers),
                body=json.loads(text) if text else None,
                seconds=loop.time() - began,
            )

    async def deploy(self, document: dict[str, Any], **options: Any) -> str:
        """Save a flow and deploy it; the deployment's id, known to every gateway."""
        saved = await self.call("POST", "/v1/flows", document)
        assert saved.status == 201, saved.body
        deployed = await self.call("POST", f"/v1/flows/{saved.body['id']}/deployments", options)
        assert deployed.status == 201, deployed.body
        deployment: str = deployed.body["id"]
        for gateway in range(len(self.stack.urls)):
            await until(lambda at=gateway: self._knows(deployment, at))
        return deployment

    async def start(
        self, deployment: str, text: str = "x", *, mode: str = "sync", gateway: int = 0, key: str | None = None
    ) -> Answer:
        """Ask for a run."""
        headers = {"Idempotency-Key": key} if key is not None else None
        body = {"input": {"text": text}, "mode": mode}
        return await self.call("POST", f"/v1/deployments/{deployment}/runs", body, gateway=gateway, headers=headers)

    async def submit(self, deployment: str, text: str = "x", *, gateway: int = 0) -> str:
        """Start an asynchronous run; its id."""
        answer = await self.start(deployment, text, mode="async", gateway=gateway)
        assert answer.status == 202, answer.body
        return answer.run_id

    async def run(self, run_id: str, *, gateway: int = 0) -> dict[str, Any]:
        """The run object."""
        answer = await self.call("GET", f"/v1/runs/{run_id}", gateway=gateway)
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.body
        return found

    async def events(self, run_id: str, *, gateway: int = 0) -> list[dict[str, Any]]:
        """The run's events so far."""
        answer = await self.call("GET", f"/v1/runs/{run_id}/events", gateway=gateway)
        assert answer.status == 200, answer.body
        found: list[dict[str, Any]] = answer.body["data"]
        return found

    async def ended(self, run_id: str, *, gateway: int = 0, seconds: float = 20.0) -> dict[str, Any]:
        """The run object, once the run has ended."""

        async def is_over() -> bool:
            answer = await self.call("GET", f"/v1/runs/{run_id}", gateway=gateway)
            return answer.status == 200 and answer.body["finished_at"] is not None

        await until(is_over, seconds)
        return await self.run(run_id, gateway=gateway)

    async def saw(self, run_id: str, event: str, *, node: str | None = None) -> dict[str, Any]:
        """The run's first event of a type (of a node), once there is one."""
        found: list[dict[str, Any]] = []

        async def is_there() -> bool:
            found[:] = [e for e in await self.events(run_id) if e["type"] == event and node in (None, e.get("node"))]
            return bool(found)

        await until(is_there)
        return found[0]

    async def cancel(self, run_id: str, *, gateway: int = 0) -> Answer:
        """Cancel a run."""
        return await self.call("POST", f"/v1/runs/{run_id}/cancel", gateway=gateway)

    async def _knows(self, deployment: str, gateway: int) -> bool:
        return (await self.call("GET", f"/v1/deployments/{deployment}", gateway=gateway)).status == 200


@asynccontextmanager
async def calling(stack: Stack) -> AsyncIterator[Caller]:
    """A caller of the stack, with any number of connections."""
    async with aiohttp.ClientSession(
        headers={**stack.headers, "Content-Type": "application/json"},
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=_CALL_SECONDS),
    ) as session:
        yield Caller(stack, session)


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 20.0) -> None:
    """Return once `holds`; TimeoutError when it does not come to hold."""
    async with asyncio.timeout(seconds):
        while not await holds():  # noqa: ASYNC110  # what other processes do sets no event here
            await asyncio.sleep(0.02)


def assert_whole(events: list[dict[str, Any]], nodes: list[str]) -> None:
    """A run that has ended: counted without a gap, one end, and for each node one end that follows its start."""
    types = [event["type"] for event in events]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert types[0] == "run.requested"
    assert [t for t in types if t in ENDS] == [types[-1]]
    for node in nodes:
        of_node = [event["type"] for event in events if event.get("node") == node]
        ends = [t for t in of_node if t in ("node.finished", "node.failed", "node.skipped")]
        assert ends == of_node[-1:], f"{node}: {of_node}"
        assert of_node[0] == ("node.skipped" if ends == ["node.skipped"] else "node.started"), f"{node}: {of_node}"
