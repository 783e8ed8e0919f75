"""`http_request`: one call to another service."""

import re
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from libs.flows.effects import HttpAnswer, HttpCall, Steps
from libs.flows.nodes.node import Config, Node, ShortText
from libs.flows.responses import body_of, raise_if_passing
from libs.flows.scope import Scope
from libs.flows.sources import Sources
from libs.flows.templates import Renderer
from libs.flows.urls import checked_url, with_query
from libs.flows.weight import MAX_BYTES
from libs.runtime.failures import Terminal

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}\Z")
_FRAMING = frozenset({"connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"})
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class HttpRequestConfig(Config, frozen=True, kw_only=True):
    """What is called and with what; `url`, `headers`, `query` and `body` are templated.

    In `url` a value is percent-encoded, save at the very start, where it is the base address.
    """

    url: Annotated[ShortText, Meta(min_length=1, description="absolute, http or https")]
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] = "GET"
    headers: Annotated[dict[str, ShortText], Meta(max_length=100)] = msgspec.field(default_factory=dict)
    query: Annotated[dict[str, Any], Meta(max_length=200, description="added to the url; arrays repeat the name")] = (
        msgspec.field(default_factory=dict)
    )
    body: Annotated[Any, Meta(description="a string is sent as it is, other JSON as JSON, null as nothing")] = None
    timeout_seconds: Annotated[float, Meta(gt=0, le=3600)] | None = None


class HttpRequestProgram(msgspec.Struct, frozen=True, kw_only=True):
    """The compiled templates."""

    url: Renderer
    headers: tuple[tuple[str, Renderer], ...]
    query: Renderer
    body: Renderer


class HttpRequest(Node[HttpRequestProgram], frozen=True, kw_only=True, tag="http_request"):
    """Sends an HTTP request. 408, 425, 429 and 5xx are tried again; any other status is an output."""

    title: ClassVar[str] = "HTTP request"
    output: ClassVar[str] = '{"status": integer, "headers": object with lower-case names, "body": JSON, text or base64}'
    effects: ClassVar[bool] = True
    guarded: ClassVar[frozenset[str]] = frozenset({"url", "headers"})

    config: HttpRequestConfig

    def compile(self, sources: Sources) -> HttpRequestProgram:
        seen: set[str] = set()
        headers = []
        for name, value in self.config.headers.items():
            pointer = f"/headers/{name.replace('~', '~0').replace('/', '~1')}"
            if not _TOKEN.match(name):
                sources.fault(pointer, "is not a header name")
            elif name.lower() in _FRAMING:
                sources.fault(pointer, "is set by the transport")
            elif name.lower() in seen:
                sources.fault(pointer, "is set twice")
            seen.add(name.lower())
            headers.append((name, sources.text(pointer, value)))
        return HttpRequestProgram(
            url=sources.url("/url", self.config.url),
            headers=tuple(headers),
            query=sources.value("/query", self.config.query),
            body=sources.value("/body", self.config.body),
        )

    def steps(self, scope: Scope) -> Steps:
        headers = {name: _header_value(name, value.render(scope)) for name, value in self.program.headers}
        body, content_type = _encoded(self.program.body.render(scope))
        defaults = {"Idempotency-Key": scope.idempotency_key}
        if content_type:
            defaults["Content-Type"] = content_type
        own = {name.lower() for name in headers}
        headers |= {name: value for name, value in defaults.items() if name.lower() not in own}
        answer: HttpAnswer = yield HttpCall(
            method=self.config.method,
            url=checked_url(with_query(self.program.url.render(scope), self.program.query.render(scope))),
            headers=headers,
            body=body,
            timeout_seconds=self.config.timeout_seconds,
            max_body_bytes=MAX_BYTES,
            follow_redirects=True,
        )
        raise_if_passing(answer, scope.now)
        return {
            "status": answer.status,
            "headers": {name.lower(): value for name, value in answer.headers.items()},
            "body": body_of(answer),
        }


def _header_value(name: str, value: str) -> str:
    """The value, if it can't break out of its header (RFC 9110 section 5.5)."""
    if _CONTROL.search(value):
        raise Terminal("node_failed", f"the header {name} would hold a line break or another control character")
    return value


def _encoded(body: Any) -> tuple[bytes | None, str | None]:
    if body is None:
        return None, None
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    return msgspec.json.encode(body), "application/json"
