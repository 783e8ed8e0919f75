"""The node `web_scraper`."""

import time
from typing import Any

from libs.flows.export.runtime.calls import Request, fetch
from libs.flows.export.runtime.requests import HTTP_SECONDS, raise_if_passing
from libs.flows.export.runtime.scope import Scope
from libs.flows.pages import Format, parse_page
from libs.flows.responses import media_type
from libs.flows.urls import checked_url
from libs.runtime.failures import Terminal

_MAX_PAGE_BYTES = 5 * 1024 * 1024


def scrape(scope: Scope, url: str, *, selector: str | None, form: Format) -> dict[str, Any]:
    """`{"title", "text", "links", "url"}` of a page."""
    headers = {
        "Accept": "text/html,application/xhtml+xml,text/*;q=0.8",
        "Idempotency-Key": scope.idempotency_key,
    }
    answer = fetch(
        Request(method="GET", url=checked_url(url), headers=headers),
        deadline=min(scope.deadline, time.monotonic() + HTTP_SECONDS),
        max_body_bytes=_MAX_PAGE_BYTES,
    )
    raise_if_passing(answer)
    if not 200 <= answer.status < 300:
        raise Terminal("node_failed", f"the page answered {answer.status}")
    content_type = answer.headers.get("content-type", "")
    media = media_type(content_type)
    if media and not media.startswith("text/") and media != "application/xhtml+xml":
        raise Terminal("node_failed", f"the page is {media[:100]}, not text")
    return parse_page(answer.body, content_type, answer.url, selector, form)
