"""Reads a web page: its title, visible text or Markdown, and links. Slow, so nodes have it computed aside.

Pages are hostile. The parser takes time that grows with the square and more of unclosed elements (200,000 of them:
over a minute), so a page's tags are counted first; what is left costs seconds at the very worst, off the event loop.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Literal
from urllib.parse import urldefrag, urljoin

from html_to_markdown import ConversionOptions, convert
from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from libs.flows.responses import decoded
from libs.runtime.failures import Terminal

Format = Literal["text", "markdown", "links"]

MAX_TAGS = 50_000
MAX_LINKS = 10_000

_TAG = re.compile(r"<[A-Za-z]")
_META_CHARSET = re.compile(rb"""<meta\b[^>]{0,500}?\bcharset\s*=\s*["']?([A-Za-z0-9_.:-]{1,40})""", re.IGNORECASE)
_META_BYTES = 4_096
_INVISIBLE = frozenset({"head", "iframe", "noscript", "object", "script", "style", "template"})
_CELLS = frozenset({"td", "th"})
# fmt: off
_BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "br", "caption", "dd", "details", "dialog",
    "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5",
    "h6", "header", "hr", "html", "legend", "li", "main", "menu", "nav", "ol", "option", "p", "pre",
    "search", "section", "summary", "table", "tbody", "tfoot", "thead", "title", "tr", "ul",
))
# fmt: on


def parse_page(body: bytes, content_type: str, url: str, selector: str | None, form: Format) -> dict[str, Any]:
    """The page as `{"title", "text", "links", "url"}`.

    `text` is the visible text, or Markdown, or the links line by line, by `form`; `links` are absolute http(s)
    addresses without fragments, each once, in the page's order. `selector` (CSS) keeps only what matches, in the
    page's order; nothing matching is no failure. Raises `Terminal` "node_failed" for too many tags.
    """
    meta = _META_CHARSET.search(body[:_META_BYTES])
    html = decoded(body, content_type, meta[1].decode() if meta else "")
    if sum(1 for _ in _TAG.finditer(html)) > MAX_TAGS:
        raise Terminal("node_failed", f"the page has more than {MAX_TAGS} tags")
    page = LexborHTMLParser(html)
    chosen = _chosen(page, selector)
    base = _base(page, url)
    links = list(dict.fromkeys(link for node in chosen for link in _links(node, base)))[:MAX_LINKS]
    match form:
        case "text":
            text = "\n".join(filter(None, (_visible(node) for node in chosen)))
        case "markdown":
            text = "\n\n".join(filter(None, (_markdown(node, base) for node in chosen)))
        case "links":
            text = "\n".join(links)
    return {"title": _title(page), "text": text, "links": links, "url": url}


def is_selector(selector: str) -> bool:
    """Whether the parser understands a CSS selector."""
    try:
        LexborHTMLParser("<p></p>").css(selector)
    except SelectolaxError:
        return False
    return True


def _chosen(page: LexborHTMLParser, selector: str | None) -> list[LexborNode]:
    """What is to be read; a match within a match is read once."""
    if selector is None:
        return [page.body] if page.body is not None else []
    try:
        found = page.css(selector)
    except SelectolaxError:
        raise Terminal("node_failed", "the selector is not CSS that can be used here") from None
    matched = {node.mem_id for node in found}
    chosen: list[LexborNode] = []

    def enter(node: LexborNode) -> bool:
        if node.mem_id not in matched:
            return True
        chosen.append(node)
        return False

    if matched and page.root is not None:
        _walk(page.root, enter, lambda node: None)
    return chosen


def _title(page: LexborHTMLParser) -> str:
    title = page.css_first("title")
    return " ".join(title.text().split()) if title is not None else ""


def _base(page: LexborHTMLParser, url: str) -> str:
    declared = page.css_first("base[href]")
    href = declared.attributes.get("href") if declared is not None else None
    return _joined(url, href) or url


def _links(node: LexborNode, base: str) -> Iterator[str]:
    for anchor in node.css("a[href], area[href]"):
        link = _joined(base, anchor.attributes.get("href"))
        if link:
            yield link


def _joined(base: str, href: str | None) -> str | None:
    """`href` made absolute and without its fragment, if it is an http(s) address."""
    try:
        link = urldefrag(urljoin(base, (href or "").strip())).url
    except ValueError:
        return None
    return link if link.lower().startswith(("http://", "https://")) else None


def _visible(root: LexborNode) -> str:
    """The visible text: a line for each block, white space collapsed."""
    pieces: list[str] = []

    def enter(node: LexborNode) -> bool:
        if node.is_text_node:
            pieces.append((node.text_content or "").replace("\n", " "))
            return False
        if not node.is_element_node or node.tag in _INVISIBLE or "hidden" in node.attributes:
            return False
        if node.tag in _BLOCKS:
            pieces.append("\n")
        elif node.tag in _CELLS:
            pieces.append(" ")
        return True

    def leave(node: LexborNode) -> None:
        if node.tag in _BLOCKS:
            pieces.append("\n")

    _walk(root, enter, leave)
    lines = (" ".join(line.split()) for line in "".join(pieces).split("\n"))
    return "\n".join(line for line in lines if line)


def _walk(root: LexborNode, enter: Callable[[LexborNode], bool], leave: Callable[[LexborNode], None]) -> None:
    """Through the tree in the page's order, without recursion; `enter` says whether to go into a node."""
    node = root
    while True:
        following = node.child if enter(node) else None
        while following is None:
            leave(node)
            if node.mem_id == root.mem_id:
                return
            following = node.next
            if following is None:
                node = node.parent or root
        node = following


def _markdown(node: LexborNode, base: str) -> str:
    options = ConversionOptions(extract_metadata=False, base_url=base, inline_data_media="alt_text_only")
    return (convert(node.html or "", options).content or "").strip()
