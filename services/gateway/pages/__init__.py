"""The few pages for people: where to begin, the API to read and try, what the error codes mean.

Everything they load comes from here (no CDN), and the Content-Security-Policy holds them to that.
"""

import html
from pathlib import Path

import msgspec
from aiohttp import web

from libs.edge.problems import STATUS
from libs.edge.routes import Route
from services.gateway.openapi import openapi

_HERE = Path(__file__).parent
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "docs.js": "text/javascript",
    "pages.css": "text/css",
}

MEANINGS = {
    "invalid_input": "What was sent does not fit; `errors` names each place and what is wrong there.",
    "unauthorized": "No key was sent, or one that is unknown, expired, deactivated or revoked.",
    "forbidden": "The key is good, but does not have the right for this call or this deployment.",
    "not_found": "There is nothing at this address, it takes another method, or it is not yours.",
    "deployment_inactive": "The deployment was taken out of service; redeploy it to call it again.",
    "conflict": "Something is in the way: a slug that is taken, a run that has already ended.",
    "idempotency_conflict": "The Idempotency-Key was used before, with another body.",
    "payload_too_large": "The body is larger than this server takes.",
    "concurrency_limit": "As many runs as the plan allows are under way; come back when one has ended.",
    "rate_limit": "Too many requests in this second; `Retry-After` says when to come back.",
    "quota_exceeded": "The month's requests are used up.",
    "egress_refused": "The address is one that Headgate does not call: private, local or not HTTP.",
    "unavailable": "Not now. Nothing was lost; try again after `Retry-After` seconds.",
    "node_failed": "A node of the run failed for good; `error.node` says which, `error.message` why.",
    "node_timeout": "A node took longer than it may.",
    "run_timeout": "The run took longer than its flow allows.",
}


def page_routes(routes: tuple[Route, ...], version: str) -> list[web.RouteDef]:
    """The pages and the OpenAPI document; none of them needs a key."""
    document = msgspec.json.encode(openapi(routes, version))
    assets = {name: (_HERE / "assets" / name).read_bytes() for name in _ASSETS}
    home, docs = ((_HERE / name).read_text().replace("{{version}}", version) for name in ("home.html", "docs.html"))
    errors = (_HERE / "errors.html").read_text().replace("{{rows}}", _error_rows())

    async def asset(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in assets:
            raise web.HTTPNotFound
        headers = {**_HEADERS, "Cache-Control": "public, max-age=3600"}
        return web.Response(body=assets[name], content_type=_ASSETS[name], headers=headers)

    async def spec(_: web.Request) -> web.Response:
        return web.Response(body=document, content_type="application/json")

    def page(text: str) -> web.Response:
        return web.Response(text=text, content_type="text/html", headers=_HEADERS)

    async def home_page(_: web.Request) -> web.Response:
        return page(home)

    async def docs_page(_: web.Request) -> web.Response:
        return page(docs)

    async def errors_page(_: web.Request) -> web.Response:
        return page(errors)

    return [
        web.get("/", home_page),
        web.get("/docs", docs_page),
        web.get("/docs/errors", errors_page),
        web.get("/docs/assets/{name}", asset),
        web.get("/openapi.json", spec),
    ]


def _error_rows() -> str:
    statuses: dict[str, int] = dict(STATUS)  # type: ignore[arg-type]  # its keys are a Literal of str
    return "\n".join(
        f'<tr id="{code}"><td><code>{code}</code></td><td>{statuses.get(code, "a run&rsquo;s error")}</td>'
        f"<td>{html.escape(meaning)}</td></tr>"
        for code, meaning in MEANINGS.items()
    )
