"""Redirects, followed by hand: where the next request goes and what it may carry.

The HTTP library's own following would neither judge the next URL nor drop more than two headers.
"""

import re

import msgspec
from multidict import CIMultiDict
from yarl import URL

from libs.egress.policy import EgressRefused, Policy
from libs.egress.urls import check_url

_STATUSES = frozenset({301, 302, 303, 307, 308})

# What may follow to another origin. A list of what is harmless, since nobody can list every name that a
# key, a session or an Idempotency-Key goes by.
_HARMLESS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "content-encoding",
        "content-language",
        "content-type",
        "pragma",
        "range",
        "user-agent",
    }
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_DESCRIBES_BODY = ("content-encoding", "content-language", "content-location", "content-type")


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One request of a chain of redirects; `url` has been judged."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    body: bytes | None


def is_redirect(status: int) -> bool:
    """Whether an answer with a `Location` sends its reader there."""
    return status in _STATUSES


def next_hop(hop: Hop, status: int, location: str, policy: Policy) -> Hop:
    """The request that a redirect asks for; raises `EgressRefused` if its target may not be called.

    The method changes as in the Fetch Standard (HTTP-redirect fetch): POST becomes GET on 301 and 302,
    anything but HEAD on 303. A step from https to http is refused, which browsers do not do for pages:
    whoever wrote https asked that path and body stay unread on the way. A header dropped on one hop stays
    dropped on the ones after it.
    """
    target = check_url(_absolute(hop.url, location), policy)
    if hop.url.scheme == "https" and target.scheme == "http":
        raise EgressRefused(f"{hop.url.raw_host} redirects from https to http")
    headers = hop.headers.copy()
    if target.origin() != hop.url.origin():
        headers = CIMultiDict((name, value) for name, value in headers.items() if name.lower() in _HARMLESS)
    becomes_get = (status in (301, 302) and hop.method == "POST") or (status == 303 and hop.method != "HEAD")
    if not becomes_get:
        return Hop(method=hop.method, url=target, headers=headers, body=hop.body)
    for name in _DESCRIBES_BODY:
        headers.popall(name, None)
    return Hop(method="GET", url=target, headers=headers, body=None)


def _absolute(base: URL, location: str) -> str:
    """The URL that `location` means, unread: parsing would tidy away what the check is to see."""
    if _SCHEME.match(location):
        return location
    if location.startswith("//"):
        return f"{base.scheme}:{location}"
    try:
        return str(base.join(URL(location)))
    except ValueError:
        raise EgressRefused(f"{base.raw_host} redirects to a URL that is not well formed") from None
