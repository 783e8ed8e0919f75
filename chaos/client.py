"""A caller as callers should be: it asks again, with the same key, of the next gateway, as long as that can help.

What can help: no connection, a connection that broke, 429, 502, 503, 504. Any other answer than 2xx is the product's
fault, for these calls ask for nothing strange; it is kept in `bad`.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import aiohttp
import msgspec

_AGAIN = frozenset({429, 502, 503, 504})
_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0
_CALL_SECONDS = 30.0
_NOBODY = "ClientConnectorError"
"""Nobody listens there, so nothing was asked."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A good answer."""

    status: int
    body: Any
    run_id: str | None


class NoAnswerError(Exception):
    """Asked again and again, and never answered."""


class Client:
    """One tenant's caller. `retries` counts the reasons to ask again; `open` says which gateway has a key's call."""

    def __init__(self, session: aiohttp.ClientSession, urls: Sequence[str], key: str, patience_seconds: float) -> None:
        self.retries: Counter[str] = Counter()
        self.bad: list[str] = []
        self.open: dict[str, int] = {}
        self.broken: list[tuple[str, float]] = []
        """Keys whose call ended without an answer after it was connected, and when."""
        self._session = session
        self._urls = urls
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._patience_seconds = patience_seconds

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        gateway: int = 0,
        key: str | None = None,
        fine: Collection[int] = (),
    ) -> Reply:
        """Ask until there is an answer. NoAnswerError when patience ends, or for an answer that is kept in `bad`.

        `fine`: statuses beyond 2xx that are an answer, too.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_seconds
        headers = self._headers | ({"Idempotency-Key": key} if key else {})
        data = None if body is None else json.dumps(body)
        pause = _PAUSE_SECONDS
        while True:
            at = gateway % len(self._urls)
            if key:
                self.open[key] = at
            status, found = await self._once(method, self._urls[at] + path, headers, data)
            if key:
                self.open.pop(key, None)
            if isinstance(found, Reply):
                return found
            if status in fine:
                return Reply(status=status, body=None, run_id=None)
            if status and status not in _AGAIN:
                self.bad.append(f"{method} {path.partition('?')[0]}: {status} {found}")
                raise NoAnswerError(found)
            self.retries[found] += 1
            if key and not status and found != _NOBODY:
                self.broken.append((key, time.time()))
            if loop.time() > deadline:
                raise NoAnswerError(f"no answer within {self._patience_seconds:g} s: {found}")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            gateway += 1

    async def ask_once(self, method: str, path: str, body: Any, *, gateway: int = 0) -> Reply | None:
        """Ask without a key, thus only once; None without an answer, or with one that says to ask again."""
        url = self._urls[gateway % len(self._urls)] + path
        status, found = await self._once(method, url, self._headers, json.dumps(body))
        if isinstance(found, Reply):
            return found
        if status and status not in _AGAIN:
            self.bad.append(f"{method} {path}: {status} {found}")
        self.retries[f"not asked again: {found}"] += 1
        return None

    async def once(self, method: str, path: str, body: Any, *, gateway: int = 0, key: str | None = None) -> int:
        """Ask once; the status, 0 without an answer."""
        headers = self._headers | ({"Idempotency-Key": key} if key else {})
        status, _ = await self._once(method, self._urls[gateway % len(self._urls)] + path, headers, json.dumps(body))
        return status

    async def follow(self, urls: Sequence[str], path: str, at: int) -> list[int]:
        """The numbers of a run's events as its stream tells them, resumed elsewhere whenever it breaks."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience_seconds
        seen: list[int] = []
        headers = self._headers | {"Accept": "text/event-stream"}
        while loop.time() < deadline:
            resumed = {"Last-Event-ID": str(seen[-1])} if seen else {}
            url = urls[at % len(urls)] + path
            try:
                timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
                async with self._session.get(url, headers=headers | resumed, timeout=timeout) as response:
                    if response.status == 204:
                        return seen
                    if response.status != 200 and response.status not in _AGAIN:
                        self.bad.append(f"GET {path} as a stream: {response.status}")
                        raise NoAnswerError(f"a stream was answered {response.status}")
                    async for line in response.content:
                        if response.status == 200 and line.startswith(b"id:"):
                            seen.append(int(line[3:]))  # noqa: PERF401  # what was seen counts when the stream breaks
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self.retries[f"stream: {type(error).__name__}"] += 1
            at += 1
            await asyncio.sleep(_PAUSE_SECONDS)
        raise NoAnswerError(f"a stream did not end within {self._patience_seconds:g} s")

    async def _once(self, method: str, url: str, headers: dict[str, str], data: str | None) -> tuple[int, Reply | str]:
        timeout = aiohttp.ClientTimeout(total=_CALL_SECONDS)
        try:
            async with self._session.request(method, url, data=data, headers=headers, timeout=timeout) as response:
                text = await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return 0, type(error).__name__
        body = json.loads(text) if text else None
        if response.status >= 300:
            code = body.get("code", "") if isinstance(body, dict) else ""
            return response.status, f"{response.status} {code}"
        return response.status, Reply(status=response.status, body=body, run_id=response.headers.get("Headgate-Run-Id"))
