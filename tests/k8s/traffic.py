"""Callers who know nothing of what goes on behind the addresses: each answer that is not the right one is a failure."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.e2e.caller import ENDS

_CALL_SECONDS = 60.0


class Traffic:
    """`failures` says what went wrong, `done` how often each kind of call went right. Made by `traffic`."""

    def __init__(self, gateway: str, notifier: str, key: str, *, quick: str, slow: str) -> None:
        self.failures: list[str] = []
        self.done: Counter[str] = Counter()
        self.stopping = asyncio.Event()
        self._gateway = gateway
        self._notifier = notifier
        self._headers = {"Authorization": f"Bearer {key}"}
        self._quick = quick
        self._slow = slow

    async def repeat(self, what: Callable[[aiohttp.ClientSession], Awaitable[None]]) -> None:
        """One caller with connections of its own, which it keeps open, and a pause between its calls."""
        timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
        async with aiohttp.ClientSession(headers=self._headers, timeout=timeout) as session:
            while not self.stopping.is_set():
                try:
                    await what(session)
                except (AssertionError, aiohttp.ClientError, TimeoutError) as error:
                    self.failures.append(f"{what.__name__}: {type(error).__name__}: {error}"[:300])
                else:
                    self.done[what.__name__] += 1
                await asyncio.sleep(random.uniform(0.0, 0.4))  # the caller's own pause

    async def synchronous(self, session: aiohttp.ClientSession) -> None:
        """A call that is answered with its output."""
        run = await self._asked(session, self._quick, "sync", 200)
        assert (run["status"], run["output"]) == ("completed", "said: x"), run

    async def waiting(self, session: aiohttp.ClientSession) -> None:
        """A call that takes longer than anything around it stays."""
        run = await self._asked(session, self._slow, "sync", 200)
        assert run["status"] == "completed", run

    async def polled(self, session: aiohttp.ClientSession) -> None:
        """A job, looked at until it is done."""
        run = await self._asked(session, self._quick, "async", 202)
        while run["status"] not in ("completed", "failed"):
            async with session.get(f"{self._gateway}/v1/runs/{run['id']}") as answer:
                assert answer.status == 200, await answer.text()
                run = await answer.json()
        assert run["output"] == "said: x", run

    async def followed(self, session: aiohttp.ClientSession) -> None:
        """A stream, read to its end: where it breaks off it is gone on with elsewhere, without a gap or a repeat."""
        run = await self._asked(session, self._slow, "async", 202)
        seen: list[int] = []
        last = ""
        while last not in ENDS:
            headers = {"Accept": "text/event-stream", **({"Last-Event-ID": str(seen[-1])} if seen else {})}
            async with session.get(f"{self._notifier}/v1/runs/{run['id']}/events", headers=headers) as answer:
                assert answer.status == 200, await answer.text()
                try:
                    async for event in _events(answer):
                        seen.append(event["seq"])
                        last = event["type"]
                except aiohttp.ClientError:
                    self.done["stream resumed"] += 1
        assert seen == list(range(1, len(seen) + 1)), seen

    async def managed(self, session: aiohttp.ClientSession) -> None:
        """A key is made, used, and deleted."""
        body = {"name": "for a moment", "permissions": ["read"]}
        async with session.post(f"{self._gateway}/v1/keys", json=body) as answer:
            assert answer.status == 201, await answer.text()
            key = await answer.json()
        own = {"Authorization": f"Bearer {key['key']}"}
        async with session.get(f"{self._gateway}/v1/flows", headers=own) as answer:
            assert answer.status == 200, await answer.text()
        async with session.delete(f"{self._gateway}/v1/keys/{key['id']}") as answer:
            assert answer.status == 204, await answer.text()

    async def _asked(self, session: aiohttp.ClientSession, deployment: str, mode: str, expected: int) -> dict[str, Any]:
        body = {"input": {"text": "x"}, "mode": mode}
        async with session.post(f"{self._gateway}/v1/deployments/{deployment}/runs", json=body) as answer:
            assert answer.status == expected, f"{answer.status} {await answer.text()}"
            run: dict[str, Any] = await answer.json()
            return run


@asynccontextmanager
async def traffic(load: Traffic, *, callers: int) -> AsyncIterator[Traffic]:
    """All kinds of calls, `callers` of each, for as long as the context is open; then each finishes what it is at."""
    kinds = (load.synchronous, load.waiting, load.polled, load.followed, load.managed)
    async with asyncio.TaskGroup() as group:
        for kind in kinds:
            for _ in range(callers):
                group.create_task(load.repeat(kind))
        try:
            yield load
        finally:
            load.stopping.set()


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.content:
        if line.startswith(b"data: "):
            yield json.loads(line[6:])
