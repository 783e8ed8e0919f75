"""The nodes that call other services: `http_request`, and what all of them share."""

import base64
import re
import time
import urllib.parse
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from libs.flows.export.runtime.calls import Answer, Request, fetch
from libs.flows.export.runtime.scope import Scope
from libs.flows.export.runtime.values import read_json, text_of, to_json
from libs.flows.responses import decoded, media_type, retry_after
from libs.flows.urls import checked_url
from libs.flows.weight import MAX_BYTES, Unfit, weigh
from libs.runtime.failures import Retryable, Terminal

HTTP_SECONDS = 60.0

_FORBIDDEN_IN_HEADERS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_HOST_OR_PORT = re.compile(r"[A-Za-z0-9._:\[\]-]*\Z")
_BINARY = ("image/", "audio/", "video/", "font/")


def http_request(
    scope: Scope,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, Any] | None = None,
    body: Any = None,
    timeout_seconds: float = HTTP_SECONDS,
) -> dict[str, Any]:
    """`{"status", "headers", "body"}`. A string is sent as it is, other JSON as JSON, null as nothing."""
    for name, value in (headers or {}).items():
        if _FORBIDDEN_IN_HEADERS.search(value):
            raise Terminal("node_failed", f"the header {name} would hold a line break or another control character")
    sent = dict(headers or {})
    own = {name.lower() for name in sent}
    if "idempotency-key" not in own:
        sent["Idempotency-Key"] = scope.idempotency_key
    if body is not None and "content-type" not in own:
        sent["Content-Type"] = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
    request = Request(
        method=method,
        url=checked_url(_with_query(url, query or {})),
        headers=sent,
        body=None if body is None else (body if isinstance(body, str) else to_json(body)).encode(),
    )
    deadline = min(scope.deadline, time.monotonic() + timeout_seconds)
    answer = fetch(request, deadline=deadline, max_body_bytes=MAX_BYTES)
    raise_if_passing(answer)
    return {"status": answer.status, "headers": answer.headers, "body": _body_of(answer)}


def host_part(value: Any) -> str:
    """A value in the place of a URL's host or port."""
    if not _HOST_OR_PORT.match(text_of(value)):
        raise Terminal("node_failed", "url: a value in the place of the host is no host or port")
    return text_of(value)


def raise_if_passing(answer: Answer) -> None:
    """Raises `Retryable` for 408, 425, 429 and any 5xx, after the wait that `Retry-After` asks for."""
    if answer.status in (408, 425, 429) or answer.status >= 500:
        after = retry_after(answer.headers.get("retry-after", ""), datetime.now(UTC))
        raise Retryable("node_failed", f"the other side answered {answer.status}", after)


def _with_query(url: str, query: Mapping[str, Any]) -> str:
    """`url` with `query` added, encoded as a form: an array repeats its name, null is left out."""
    pairs = []
    for name, value in query.items():
        values = value if isinstance(value, list) else [value]
        pairs += [(name, text_of(each)) for each in values if each is not None]
    if not pairs:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urllib.parse.urlencode(pairs)}"


def _body_of(answer: Answer) -> Any:
    """JSON as its value, text as a string, anything binary as base64."""
    content_type = answer.headers.get("content-type", "")
    media = media_type(content_type)
    if media == "application/json" or media.endswith("+json"):
        try:
            value = read_json(answer.body.decode())
            weigh(value)
        except (ValueError, RecursionError, Unfit):
            return decoded(answer.body, content_type)
        return value
    if _is_binary(media, answer.body):
        return base64.b64encode(answer.body).decode()
    return decoded(answer.body, content_type)


def _is_binary(media: str, body: bytes) -> bool:
    """By family; outside the text types a body that holds NUL or isn't UTF-8 is binary as well."""
    if media.startswith("text/") or media.endswith(("+xml", "/xml")):
        return False
    if media.startswith(_BINARY) or b"\0" in body:
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return True
    return False
