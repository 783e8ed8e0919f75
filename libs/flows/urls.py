"""Templated addresses. Values are data: they can't leave the place in the URL that the flow gave them.

A lookup at the very start is a base address and reads as it is. One within the authority may be a host or a
port. Everywhere behind, a value is percent-encoded as one component (RFC 3986 section 2), slashes too, unless
its last filter is `urlencode`, which has done so. So `https://api.test/users/{{ in.id }}` stays under `/users/`.
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from libs.flows.faults import Fault
from libs.flows.filters import text_of
from libs.flows.lookups import Lookup
from libs.flows.scope import Scope
from libs.flows.templates import InvalidTemplate, Renderer, parts_of, references_of
from libs.runtime.failures import Terminal

MAX_URL_CHARACTERS = 16_384

_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_IN_AUTHORITY = re.compile(r"https?://[^/?#]*\Z", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"[A-Za-z0-9._:\[\]-]*\Z")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")


def compile_url(text: str) -> Renderer:
    """A template that renders to an absolute http(s) URL. Raises `InvalidTemplate`.

    Rendering raises `Terminal` "node_failed" where the result is none; the message doesn't hold the address.
    """
    parts = parts_of(text.strip())
    if not parts or (isinstance(parts[0], str) and not _SCHEME.match(parts[0])):
        raise InvalidTemplate([Fault(pointer="", detail="must start with http:// or https://")])
    pieces: list[Callable[[Scope], str]] = []
    before = ""
    for part in parts:
        if isinstance(part, str):
            pieces.append(_literal(part))
            before += part
        else:
            pieces.append(_placed(part, before))
            before += "x"

    def render(scope: Scope) -> str:
        return checked_url("".join([piece(scope) for piece in pieces]))

    return Renderer(render=render, references=references_of(parts))


def checked_url(url: str) -> str:
    """`url` without its fragment, if it is an absolute http(s) URL; else `Terminal` "node_failed"."""
    url = url.strip().partition("#")[0]
    if len(url) > MAX_URL_CHARACTERS:
        raise Terminal("node_failed", f"url: longer than {MAX_URL_CHARACTERS} characters")
    if not _SCHEME.match(url):
        raise Terminal("node_failed", "url: must start with http:// or https://")
    if _CONTROL.search(url):
        raise Terminal("node_failed", "url: holds a space or a control character")
    try:
        split = urlsplit(url)
        usable = bool(split.hostname) and split.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise Terminal("node_failed", "url: names no usable host and port")
    return url


def with_query(url: str, query: dict[str, Any]) -> str:
    """`url` with `query` added, encoded as a form: an array repeats its name, null is left out."""
    pairs = []
    for name, value in query.items():
        values = value if isinstance(value, list) else [value]
        pairs += [(name, text_of(each)) for each in values if each is not None]
    if not pairs:
        return url
    return f"{url}{'&' if '?' in url else '?'}{urlencode(pairs)}"


def _literal(text: str) -> Callable[[Scope], str]:
    return lambda scope: text


def _placed(lookup: Lookup, before: str) -> Callable[[Scope], str]:
    """How a lookup reads behind the text `before`."""
    if not before or lookup.encoded:
        return lambda scope: text_of(lookup.read(scope))
    if _IN_AUTHORITY.match(before):
        return lambda scope: _authority(text_of(lookup.read(scope)))
    return lambda scope: quote(text_of(lookup.read(scope)), safe="")


def _authority(value: str) -> str:
    if not _HOST_AND_PORT.match(value):
        raise Terminal("node_failed", "url: a value in the place of the host is no host or port")
    return value
