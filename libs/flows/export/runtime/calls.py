"""HTTP calls: bounded in time and size, redirects followed by hand so that nothing private follows to a stranger."""

import http.client
import re
import time
import zlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from libs.runtime.failures import Retryable, Terminal

_MAX_REDIRECTS = 5
_CONNECT_SECONDS = 5.0
_CHUNK_BYTES = 65_536
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HARMLESS = re.compile(r"accept|accept-language|cache-control|content-language|content-type|pragma|range", re.I)
_ESCAPE = re.compile(r"(%[0-9A-Fa-f]{2})")
_PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$'()*,:@"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back: header names in lower case, `body` decompressed, `url` where the last redirect led."""

    status: int
    headers: dict[str, str]
    body: bytes
    url: str


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request of a chain of redirects."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


def fetch(request: Request, *, deadline: float, max_body_bytes: int) -> Answer:
    """The answer, whatever its status. Raises `Retryable` for a broken connection and past `deadline`."""
    request = replace(request, url=_normal(request.url))
    for _ in range(_MAX_REDIRECTS + 1):
        answer = _exchange(request, deadline, max_body_bytes)
        location = answer.headers.get("location")
        if location is None or answer.status not in _REDIRECTS:
            return answer
        request = _redirected(request, answer.status, location)
    raise Terminal("node_failed", f"more than {_MAX_REDIRECTS} redirects, the last to {urlsplit(request.url).hostname}")


def _exchange(request: Request, deadline: float, max_body_bytes: int) -> Answer:
    target = urlsplit(request.url)
    host = target.hostname or ""
    make = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
    try:
        connection = make(host, target.port, timeout=min(_CONNECT_SECONDS, _left(deadline)))
        with closing(connection):
            return _talk(connection, request, deadline, max_body_bytes)
    except TimeoutError:
        raise Retryable("node_timeout", f"{host} did not answer in time") from None
    except http.client.IncompleteRead:
        raise Retryable("node_failed", f"the answer of {host} broke off") from None
    except http.client.HTTPException:
        raise Retryable("node_failed", f"{host} did not answer in valid HTTP") from None
    except OSError as error:
        said = f"{host} could not be connected to"
        raise Retryable("node_failed", f"{said}: {error.strerror}" if error.strerror else said) from None


def _talk(connection: http.client.HTTPConnection, request: Request, deadline: float, max_body_bytes: int) -> Answer:
    """One request and its answer; before each wait the socket is told how long it may last."""
    connection.connect()
    wire = connection.sock
    wire.settimeout(_left(deadline))
    target = urlsplit(request.url)
    path = urlunsplit(("", "", target.path or "/", target.query, ""))
    body = b"" if request.body is None and request.method == "DELETE" else request.body
    connection.request(request.method, path, body=body, headers=_outgoing(request.headers))
    response = connection.getresponse()
    received = bytearray()
    while chunk := response.read1(_CHUNK_BYTES):
        received += chunk
        if len(received) > max_body_bytes:
            raise Terminal("node_failed", f"the answer of {connection.host} is larger than {max_body_bytes} bytes")
        wire.settimeout(_left(deadline))
    headers = _received(response)
    plain = _decompressed(bytes(received), headers, connection.host, max_body_bytes)
    return Answer(status=response.status, headers=headers, body=plain, url=request.url)


def _left(deadline: float) -> float:
    """Seconds until the deadline. TimeoutError past it."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _outgoing(headers: Mapping[str, str]) -> dict[str, bytes]:
    own = {name: value.strip(" \t").encode() for name, value in headers.items() if name.lower() != "accept-encoding"}
    names = {name.lower() for name in own}
    defaults = {"Accept": b"*/*", "Accept-Encoding": b"gzip, deflate", "User-Agent": b"Headgate"}
    return own | {name: value for name, value in defaults.items() if name.lower() not in names}


def _received(response: http.client.HTTPResponse) -> dict[str, str]:
    """Headers by lower-case name, values of one name joined; the library reads the bytes as Latin-1."""
    joined: dict[str, str] = {}
    for name, raw in response.getheaders():
        try:
            value = raw.encode("latin-1").decode()
        except UnicodeError:
            value = raw
        joined[name.lower()] = f"{joined[name.lower()]}, {value}" if name.lower() in joined else value
    return joined


def _decompressed(body: bytes, headers: dict[str, str], host: str, max_body_bytes: int) -> bytes:
    """The body as it was meant; takes away the headers that described its compressed form."""
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise Terminal("node_failed", f"{host} answered in a content encoding that was not asked for")
    headers.pop("content-encoding")
    headers.pop("content-length", None)
    try:
        plain = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, max_body_bytes + 1)
    except zlib.error:
        raise Retryable("node_failed", f"the answer of {host} does not decompress") from None
    if len(plain) > max_body_bytes:
        raise Terminal("node_failed", f"the answer of {host} is larger than {max_body_bytes} bytes")
    return plain


def _redirected(request: Request, status: int, location: str) -> Request:
    """The request that a redirect asks for; methods change as in the Fetch Standard (HTTP-redirect fetch)."""
    url = _normal(urljoin(request.url, location))
    before, after = urlsplit(request.url), urlsplit(url)
    if after.scheme not in ("http", "https") or (before.scheme == "https" and after.scheme == "http"):
        raise Terminal("egress_refused", f"{before.hostname} redirects to where one does not follow")
    headers = dict(request.headers)
    if (before.scheme, before.netloc) != (after.scheme, after.netloc):
        headers = {name: value for name, value in headers.items() if _HARMLESS.fullmatch(name)}
    becomes_get = (status in (301, 302) and request.method == "POST") or (status == 303 and request.method != "HEAD")
    if not becomes_get:
        return replace(request, url=url, headers=headers)
    headers = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
    return Request(method="GET", url=url, headers=headers)


def _normal(url: str) -> str:
    """The address in its normal form: no fragment, no dot segments, no default port, nothing but ASCII."""
    split = urlsplit(url)
    scheme, host = split.scheme.lower(), split.hostname or ""
    try:
        host = f"[{host}]" if ":" in host else host.encode("idna").decode()
        port = f":{split.port}" if split.port not in (None, 443 if scheme == "https" else 80) else ""
    except ValueError:
        raise Terminal("node_failed", "url: names no usable host and port") from None
    path = _quoted(urljoin("/", split.path), f"{_PLAIN}&;=", "/+") if split.path else "/" if split.query else ""
    return urlunsplit((scheme, host + port, path, _quoted(split.query, f"{_PLAIN}/?", "&;=+"), ""))


def _quoted(text: str, plain: str, kept: str) -> str:
    """Percent-encoding in one form: `plain` characters never encoded, `kept` ones as they are, all others encoded."""
    parts = _ESCAPE.split(text)
    for at, part in enumerate(parts):
        if at % 2 == 0:
            parts[at] = quote(part, safe=plain + kept)
        else:
            character = chr(int(part[1:], 16))
            parts[at] = character if character in plain else part.upper()
    return "".join(parts)
