"""The outside world of the flows: an HTTP server that nodes call, and that remembers every call by its key.

It answers `{"echo": "<text>-<path>"}`, so that a run's output follows from its input. A call takes a moment, as calls
do: then there is always some run that can be struck in the middle of a node.
"""

import asyncio
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.e2e.target import serving

PROBE = "probe"
"""A text that begins so is the harness's own, and is not counted."""

HELD = "probe-held"
"""One that begins so is left without an answer until `release`."""

_FASTEST_SECONDS, _SLOWEST_SECONDS = 0.05, 0.35


class Recorder:
    """Made by `recording`. `calls` counts by `Idempotency-Key` (`<run>:<node>`), `strange` those without one."""

    def __init__(self) -> None:
        self.port = 0
        self.calls: Counter[str] = Counter()
        self.strange = 0
        self._open: dict[str, list[str]] = {}
        self._released = asyncio.Event()

    def url(self, path: str) -> str:
        """Where a node calls."""
        return f"http://127.0.0.1:{self.port}/{path}"

    def under_way(self) -> dict[str, str]:
        """The text of each call that is under way, by its key, oldest first."""
        return {key: texts[-1] for key, texts in self._open.items()}

    def release(self) -> None:
        """Answer what is held, now and from now on."""
        self._released.set()

    def hold(self) -> None:
        """Hold again."""
        self._released.clear()

    async def handle(self, request: web.Request) -> web.Response:
        """Count, take a moment, answer."""
        key = request.headers.get("Idempotency-Key", "")
        if not key:
            self.strange += 1
            return web.json_response({"error": "a call without a key"}, status=400)
        text = str((await request.json())["text"])
        if not text.startswith(PROBE):
            self.calls[key] += 1
        self._open.setdefault(key, []).append(text)
        try:
            share = zlib.crc32(key.encode()) % 1000 / 1000
            await asyncio.sleep(_FASTEST_SECONDS + share * (_SLOWEST_SECONDS - _FASTEST_SECONDS))
            if text.startswith(HELD):
                await self._released.wait()
        finally:
            self._open[key].pop()
            if not self._open[key]:
                del self._open[key]
        return web.json_response({"echo": f"{text}{request.path.replace('/', '-')}"})


@asynccontextmanager
async def recording() -> AsyncIterator[Recorder]:
    """A recorder on a free port of loopback."""
    found = Recorder()
    app = web.Application()
    app.router.add_post("/{path:.*}", found.handle)
    async with serving(app) as port:
        found.port = port
        yield found
