"""What a process answers to those who watch it: `/healthz`, `/readyz`, `/metrics`.

Healthy means that the event loop turns; ready means that everything a request needs is there. A process that
drains says "not ready" first, then finishes what it holds, then leaves.
"""

from collections.abc import Callable

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


class Readiness:
    """The named conditions of being ready; each is asked at every `/readyz`, so it must be cheap."""

    def __init__(self) -> None:
        self._conditions: dict[str, Callable[[], bool]] = {}
        self.draining = False

    def require(self, name: str, condition: Callable[[], bool]) -> None:
        """Let `/readyz` answer 503 while `condition` is false."""
        self._conditions[name] = condition

    def missing(self) -> list[str]:
        """The names of the conditions that do not hold; empty: ready."""
        lacking = [name for name, holds in self._conditions.items() if not holds()]
        return ["draining", *lacking] if self.draining else lacking


def health_routes(readiness: Readiness) -> list[web.RouteDef]:
    """The three routes that every service has; none of them needs a key."""

    async def healthz(_: web.Request) -> web.Response:
        return _json(200, {"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        missing = readiness.missing()
        return _json(503 if missing else 200, {"status": "waiting" if missing else "ready", "missing": missing})

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return [web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", metrics)]


def _json(status: int, body: object) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")
