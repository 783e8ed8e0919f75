"""A server for flows that reach outside: echoes, failures that pass, redirects, pages, a model."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

_PAGE = """<!doctype html><html><head><title> A  page </title><base href="/base/"></head><body>
<h1>Größe &amp; Preis</h1><p>One <b>two</b><br>three <a href="x#f">link</a> <a href="/y">other</a></p>
<div hidden>not seen</div><script>no()</script><table><tr><td>a<td>b</table></body></html>"""


class Target:
    """What the server was asked, and where it is."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[dict[str, Any]] = []
        self.models: list[dict[str, Any]] = []
        self.failures_left = 0

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/echo{rest:.*}", self._echo)
        app.router.add_route("*", "/flaky", self._flaky)
        app.router.add_route("*", "/redirect/{status}/{left}", self._redirect)
        app.router.add_route("*", "/away", self._away)
        app.router.add_get("/status/{status}", self._status)
        app.router.add_get("/page", self._page)
        app.router.add_get("/latin", self._latin)
        app.router.add_get("/body/{kind}", self._body)
        app.router.add_get("/slow", self._slow)
        app.router.add_post("/v1/chat/completions", self._complete)
        return app

    def _note(self, request: web.Request, body: bytes) -> dict[str, Any]:
        told = {name.lower(): value for name, value in request.headers.items()}
        told.pop("host")
        key = told.pop("idempotency-key", None)
        self.calls.append({"path": request.path, "key": key})
        return {
            "method": request.method,
            "path": request.raw_path,
            "headers": told,
            "body": body.decode(),
            "keyed": bool(key),
        }

    async def _echo(self, request: web.Request) -> web.Response:
        return web.json_response(self._note(request, await request.read()))

    async def _flaky(self, request: web.Request) -> web.Response:
        self._note(request, b"")
        if self.failures_left > 0:
            self.failures_left -= 1
            return web.Response(status=503, headers={"Retry-After": "0"})
        return web.json_response({"up": True})

    async def _redirect(self, request: web.Request) -> web.Response:
        left = int(request.match_info["left"])
        status = int(request.match_info["status"])
        where = f"/redirect/{status}/{left - 1}" if left else "/echo/there?x=1"
        return web.Response(status=status, headers={"Location": where})

    async def _away(self, request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": request.query["to"]})

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response({"said": "no"}, status=int(request.match_info["status"]))

    async def _page(self, request: web.Request) -> web.Response:
        self._note(request, b"")
        return web.Response(text=_PAGE, content_type="text/html")

    async def _latin(self, request: web.Request) -> web.Response:
        return web.Response(
            body="<title>é</title><p>ü".encode("latin-1"), headers={"Content-Type": "text/html; charset=latin-1"}
        )

    async def _body(self, request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        body, headers = {
            "gzip": (gzip.compress(b'{"a": 1}'), {"Content-Type": "application/json", "Content-Encoding": "gzip"}),
            "binary": (b"\x00\xff", {"Content-Type": "application/octet-stream"}),
            "broken": (b'{"a": NaN}', {"Content-Type": "application/problem+json"}),
            "text": ("ü\n".encode(), {"Content-Type": "text/plain", "X-Twice": "ä"}),
            "empty": (b"", {}),
            "large": (b"x" * (11 * 1024 * 1024), {"Content-Type": "text/plain"}),
            "bomb": (gzip.compress(b"x" * (11 * 1024 * 1024)), {"Content-Encoding": "gzip"}),
        }[kind]
        return web.Response(body=body, headers=headers)

    async def _slow(self, request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        asked = msgspec.json.decode(await request.read())
        self.models.append(
            {
                "key": request.headers.get("Authorization"),
                **{name: value for name, value in asked.items() if name not in ("stream", "stream_options")},
            }
        )
        if asked["model"] == "none":
            return web.json_response({"error": {"message": "no such model"}}, status=404)
        text = f"answer to {asked['messages'][-1]['content']}"
        usage = {"prompt_tokens": 1000, "completion_tokens": 500}
        if not asked.get("stream"):
            message = {"content": text, "reasoning_content": "hm"}
            return web.json_response({"model": asked["model"], "choices": [{"message": message}], "usage": usage})
        chunks = [
            {"model": asked["model"], "choices": [{"delta": {"content": text, "reasoning_content": "hm"}}]},
            {"choices": [{"delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": usage},
        ]
        lines = [*(msgspec.json.encode(chunk).decode() for chunk in chunks), "[DONE]"]
        return web.Response(text="".join(f"data: {line}\n\n" for line in lines), content_type="text/event-stream")


@asynccontextmanager
async def serving() -> AsyncIterator[Target]:
    """The server on a free port of this machine."""
    target = Target()
    runner = web.AppRunner(target.app(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    target.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield target
    finally:
        await runner.cleanup()
