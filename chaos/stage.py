"""Where a fault is played: a stack, the outside world, two tenants and their flows, and the clock of the strikes."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from chaos.client import Client
from chaos.cluster import Cluster
from chaos.recorder import PROBE, Recorder, recording
from tests.stack import Stack

CONCURRENT_RUNS = 4
"""The limit of the limited tenant."""

PATIENCE_SECONDS = 90.0
_PAUSE_SECONDS = 0.5
"""The delay between the two calls of each run: nobody holds it meanwhile, it lies with the timers."""

_POLL_SECONDS = 0.02


class Tenant:
    """A workspace: who calls, and what."""

    def __init__(self, client: Client, deployment: str) -> None:
        self.client = client
        self.deployment = deployment

    @property
    def path(self) -> str:
        """Where its runs are asked for."""
        return f"/v1/deployments/{self.deployment}/runs"


class Stage:
    """Made by `staging`. `struck` holds when each fault was injected, in seconds since the epoch."""

    free: Tenant
    limited: Tenant
    crowd: Tenant
    """The free one again, with a flow of pure nodes: its runs are stored together."""

    def __init__(self, stack: Stack, recorder: Recorder, cluster: Cluster | None, thread: Executor) -> None:
        self.stack = stack
        self.recorder = recorder
        self._thread = thread
        self.cluster = cluster
        self.struck: list[float] = []
        self.wrong: list[str] = []
        """What a fault itself saw that should not be."""

    def begin(self) -> None:
        """Forget what was seen before: another fault is played."""
        self.struck, self.wrong = [], []
        self.recorder.calls.clear()
        for tenant in (self.free, self.limited):
            tenant.client.bad.clear()
            tenant.client.broken.clear()
            tenant.client.retries.clear()

    def strike(self) -> None:
        """A fault is being injected now."""
        self.struck.append(time.time())

    async def follow(self, client: Client, run_id: str, at: int) -> list[int]:
        """The numbers of a run's events, streamed by the notifiers and gateways in turn, as breaks make it move on."""
        urls = [each["url"] for each in self.stack.processes() if each["service"] == "notifier"] + self.stack.urls
        return await client.follow(urls, f"/v1/runs/{run_id}/events", at)

    async def start(self) -> None:
        """Start the stack (again). The thread that does it has to outlive the stack: so it is always the same one."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self.stack.start)

    async def back(self, service: str, index: int, old_pid: int, seconds: float = 30.0) -> None:
        """Wait until a process has been replaced and answers."""
        await asyncio.to_thread(self.stack.restarted, service, index, old_pid, seconds)

    async def whole(self) -> None:
        """Wait until every gateway takes runs and carries them through."""
        for gateway in range(len(self.stack.urls)):
            body = {"input": {"text": f"{PROBE}-{gateway}"}, "mode": "sync"}
            await self.free.client.call("POST", self.free.path, body, gateway=gateway)


@asynccontextmanager
async def staging(stack: Stack, cluster: Cluster | None = None) -> AsyncIterator[Stage]:
    """Start the stack, with everything around it; nothing is left of it afterwards."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    with ThreadPoolExecutor(1) as thread:
        async with recording() as recorder, aiohttp.ClientSession(connector=connector) as session:
            stage = Stage(stack, recorder, cluster, thread)
            try:
                await stage.start()
                await _settle_tenants(stage, session)
                yield stage
            finally:
                await asyncio.get_running_loop().run_in_executor(thread, stack.stop)


async def _settle_tenants(stage: Stage, session: aiohttp.ClientSession) -> None:
    """One tenant without limits, the workspace that there always is, and one with."""
    stack = stage.stack
    free = Client(session, stack.urls, stack.admin_key, PATIENCE_SECONDS)
    body = {"name": "limited", "plan": "enterprise", "limits": {"concurrent_runs": CONCURRENT_RUNS}}
    made = await free.call("POST", "/v1/workspaces", body)
    limited = Client(session, stack.urls, made.body["admin_key"], PATIENCE_SECONDS)
    stage.free = Tenant(free, await _deploy(free, _flow(stage.recorder)))
    stage.limited = Tenant(limited, await _deploy(limited, _flow(stage.recorder)))
    stage.crowd = Tenant(free, await _deploy(free, _pure_flow()))


async def until(holds: Callable[[], Awaitable[bool]], what: str, seconds: float = 30.0) -> None:
    """Return once `holds`; TimeoutError, with `what` was waited for, when it does not come to hold."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await holds():
        if loop.time() > deadline:
            raise TimeoutError(f"not {what} within {seconds:g} s")
        await asyncio.sleep(_POLL_SECONDS)


async def _deploy(client: Client, flow: dict[str, Any]) -> str:
    saved = await client.call("POST", "/v1/flows", flow)
    made = await client.call("POST", f"/v1/flows/{saved.body['id']}/deployments", {})
    deployment: str = made.body["id"]

    async def known() -> bool:
        body = {"input": {"text": PROBE}, "mode": "sync"}
        path = f"/v1/deployments/{deployment}/runs"
        return {await client.once("POST", path, body, gateway=gateway) for gateway in (0, 1)} == {200}

    await until(known, "a deployment known to every gateway")
    return deployment


def _flow(recorder: Recorder) -> dict[str, Any]:
    """Two calls with a pure node and a delay between them; the output follows from the input."""

    def call(name: str, text: str) -> dict[str, Any]:
        config = {"method": "POST", "url": recorder.url(name), "body": {"text": text}, "timeout_seconds": 60}
        return {"id": name, "type": "http_request", "config": config, "timeout_seconds": 90}

    between = {"id": "between", "type": "template", "config": {"text": "{{ a.body.echo }}"}}
    pause = {"id": "pause", "type": "delay", "config": {"seconds": _PAUSE_SECONDS}}
    nodes = [call("a", "{{ in.text }}"), between, pause, call("b", "{{ between.text }}")]
    return {**_in_a_row("chaos", nodes, "{{ b.body.echo }}"), "settings": {"timeout_seconds": 600}}


def _pure_flow() -> dict[str, Any]:
    """What the other one gives, without a call."""
    nodes = [{"id": "say", "type": "template", "config": {"text": "{{ in.text }}-a-b"}}]
    return _in_a_row("chaos-together", nodes, "{{ say.text }}")


def _in_a_row(slug: str, between: list[dict[str, Any]], output: str) -> dict[str, Any]:
    fields = [{"name": "text", "type": "string", "required": True, "test_value": "x"}]
    first = {"id": "in", "type": "api_input", "config": {"fields": fields}}
    nodes = [first, *between, {"id": "out", "type": "api_output", "config": {"value": output}}]
    edges = [{"source": source["id"], "target": target["id"]} for source, target in itertools.pairwise(nodes)]
    return {"name": slug.title(), "slug": slug, "nodes": nodes, "edges": edges}
