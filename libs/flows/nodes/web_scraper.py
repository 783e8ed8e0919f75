"""`web_scraper`: fetches a page and reads it."""

from typing import Annotated, ClassVar

from msgspec import Meta

from libs.flows.effects import Compute, HttpAnswer, HttpCall, Steps
from libs.flows.nodes.node import Config, Node, ShortText
from libs.flows.pages import Format, is_selector, parse_page
from libs.flows.responses import header, media_type, raise_if_passing
from libs.flows.scope import Scope
from libs.flows.sources import Sources
from libs.flows.templates import Renderer
from libs.runtime.failures import Terminal

MAX_PAGE_BYTES = 5 * 1024 * 1024


class WebScraperConfig(Config, frozen=True, kw_only=True):
    """Which page, which part of it, and what to make of it."""

    url: Annotated[ShortText, Meta(min_length=1, description="templated; absolute, http or https")]
    selector: (
        Annotated[str, Meta(min_length=1, max_length=500, description="CSS; only what matches is read")] | None
    ) = None
    format: Annotated[Format, Meta(description="what `text` holds; `links` is there in any case")] = "text"


class WebScraper(Node[Renderer], frozen=True, kw_only=True, tag="web_scraper"):
    """Fetches a web page and outputs its text, or Markdown, and its links."""

    title: ClassVar[str] = "Web scraper"
    output: ClassVar[str] = '{"title": string, "text": string, "links": [string], "url": string}'
    effects: ClassVar[bool] = True
    guarded: ClassVar[frozenset[str]] = frozenset({"url"})

    config: WebScraperConfig

    def compile(self, sources: Sources) -> Renderer:
        if self.config.selector is not None and not is_selector(self.config.selector):
            sources.fault("/selector", "is not a CSS selector that can be used here")
        return sources.url("/url", self.config.url)

    def steps(self, scope: Scope) -> Steps:
        answer: HttpAnswer = yield HttpCall(
            method="GET",
            url=self.program.render(scope),
            headers={
                "Accept": "text/html,application/xhtml+xml,text/*;q=0.8",
                "Idempotency-Key": scope.idempotency_key,
            },
            body=None,
            timeout_seconds=None,
            max_body_bytes=MAX_PAGE_BYTES,
            follow_redirects=True,
        )
        raise_if_passing(answer, scope.now)
        if not 200 <= answer.status < 300:
            raise Terminal("node_failed", f"the page answered {answer.status}")
        content_type = header(answer, "content-type")
        media = media_type(content_type)
        if media and not media.startswith("text/") and media != "application/xhtml+xml":
            raise Terminal("node_failed", f"the page is {media[:100]}, not text")
        page = yield Compute(
            function=parse_page,
            args=(answer.body, content_type, answer.url, self.config.selector, self.config.format),
        )
        return page
