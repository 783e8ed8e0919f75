"""Calls that come in one piece: answered from their bytes, past the HTTP library.

Most calls that start a run are small: head and body arrive together, on a connection that is asked again when it has
answered. For those the library's parser, request, writer, routing and response took more of the gateway's time than
taking the run in did. So a request that is plain in every respect (one chunk, `POST`, a known path, a head without
anything unusual) is taken apart here by one regular expression, and goes through the same handling as any other,
with a request and a response that are as small as they can be. Whatever is not plain is the library's to read; so is a
call that turns out to need more than one answer, which says so by `Detour` before it has done anything.
"""

import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from email.utils import formatdate
from typing import Any, cast

from aiohttp import HttpVersion11, web
from aiohttp.http import SERVER_SOFTWARE
from multidict import CIMultiDict

_HEAD = re.compile(
    rb"POST (/[A-Za-z0-9_/-]{1,256}) HTTP/1\.1\r\n((?:[A-Za-z0-9-]{1,64}:[\t\x20-\x7e]{0,2048}\r\n){1,32}+)\r\n"
)
_UNUSUAL = frozenset(
    {"connection", "content-encoding", "expect", "te", "trailer", "transfer-encoding", "upgrade", "keep-alive"}
)
"""Headers that say something about the message or the connection, and are left to the library."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Detour(BaseException):
    """This call needs a connection of the library's. No error: nothing was done for it, and it is taken anew there."""


class _NoContent:
    """Nothing is left to be read."""

    def exception(self) -> None:
        """Nothing went wrong while it was read."""


class WholeRequest:
    """Of a request what its handling looks at, by the library's own names."""

    method = "POST"
    version = HttpVersion11
    content = _NoContent()
    can_read_body = False

    def __init__(
        self, path: str, match_info: Mapping[str, str], headers: CIMultiDict[str], body: bytes, remote: str
    ) -> None:
        self.path = path
        self.match_info = match_info
        self.headers = headers
        self.body = body
        self.remote = remote
        self._kept: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self._kept[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._kept[name] = value

    def __contains__(self, name: str) -> bool:
        return name in self._kept

    def get(self, name: str, default: Any = None) -> Any:
        """What is kept under `name` for this request."""
        return self._kept.get(name, default)


def is_whole(request: object) -> bool:
    """Whether a handler was given a request from here."""
    return isinstance(request, WholeRequest)


class Express:
    """Answers whole requests of some routes."""

    def __init__(self, routes: Sequence[tuple[str, Handler]], max_body_bytes: int) -> None:
        """`routes`: paths with `{names}` in them, and who handles them."""
        self._routes = [(re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", path)), handler) for path, handler in routes]
        self._max_body_bytes = max_body_bytes
        self._second = 0
        self._common = b""

    def __call__(self, data: bytes, remote: str) -> Coroutine[None, None, tuple[bytes, bool] | None] | None:
        """The answer to come, and whether the connection stays; None where the request is not for here.

        The awaitable gives None after all where the call takes a detour.
        """
        head = _HEAD.match(data)
        if head is None:
            return None
        headers = _headers(head[2], len(data) - head.end())
        if headers is None or len(data) - head.end() > self._max_body_bytes:
            return None
        path = head[1].decode()
        for pattern, handler in self._routes:
            found = pattern.fullmatch(path)
            if found is not None:
                request = WholeRequest(path, found.groupdict(), headers, data[head.end() :], remote)
                return self._answer(handler, request)
        return None

    async def _answer(self, handler: Handler, request: WholeRequest) -> tuple[bytes, bool] | None:
        try:
            # It has what a handler uses of a request; a handler that uses more is not on the list of routes.
            response = await handler(cast(web.Request, request))
        except Detour:
            return None
        if not isinstance(response, web.Response) or not isinstance(response.body, bytes | None):
            raise TypeError("only a response with a body in memory can be sent from here")
        return self._encode(response)

    def _encode(self, response: web.Response) -> tuple[bytes, bool]:
        body = cast(bytes, response.body or b"")
        stays = response.keep_alive is not False
        lines = [f"HTTP/1.1 {response.status} {response.reason}\r\n"]
        lines += [f"{name}: {value}\r\n" for name, value in response.headers.items()]
        closing = "" if stays else "Connection: close\r\n"
        lines.append(f"Content-Length: {len(body)}\r\n{closing}")
        return b"%b%b%b" % ("".join(lines).encode(), self._last_lines(), body), stays

    def _last_lines(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._common = f"Date: {formatdate(second, usegmt=True)}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n".encode()
        return self._common


_PARAMETER = re.compile(r"\{(\w+)\}")


def _headers(lines: bytes, body_bytes: int) -> CIMultiDict[str] | None:
    """The headers, if every one is there once and none is unusual, and they say that the body is all here."""
    found: CIMultiDict[str] = CIMultiDict()
    for line in lines.decode().split("\r\n")[:-1]:
        name, _, value = line.partition(":")
        if name in found or name.lower() in _UNUSUAL:
            return None
        found.add(name, value.strip())
    if found.get("Content-Length") != str(body_bytes) or "Host" not in found:
        return None
    return found
