"""Requests that came whole, answered by the same handling as any other, with as small a request as that looks at.

A route that is `plain` is served both ways. Its handler may find that this call wants more than one answer, a stream
for instance: it says so before it has done anything (`Call.needs_connection`), and the HTTP library takes the call.
"""

import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from email.utils import formatdate
from typing import Any, cast

from aiohttp import HttpVersion11, web
from aiohttp.http import SERVER_SOFTWARE
from multidict import CIMultiDict

from libs.runtime.preread import Answer, Whole

_TARGET = re.compile(r"/[A-Za-z0-9_/-]{1,255}")
_PARAMETER = re.compile(r"\{(\w+)\}")
_STREAM = re.compile(rb'"stream"(?!\s*:\s*false)')
"""In the body of a call that wants a stream, and of few others: it would detour, and be read and verified twice, which
was 8% of the time to its first word."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Prepare = Callable[[web.Request, web.StreamResponse], Awaitable[None]]


class Detour(BaseException):
    """This call needs a connection of the library's. No error: nothing was done for it, and it is taken anew there."""


class _NothingLeft:
    """A body that was read."""

    def exception(self) -> None:
        """Nothing went wrong meanwhile."""


class WholeRequest:
    """Of a request what the handling of a plain route looks at, by the library's own names."""

    method = "POST"
    version = HttpVersion11
    content = _NothingLeft()
    can_read_body = False
    query: Mapping[str, str] = {}

    def __init__(self, path: str, match_info: Mapping[str, str], whole: Whole) -> None:
        self.path = path
        self.match_info = match_info
        self.headers: CIMultiDict[str] = whole.headers
        self.body = whole.body
        self.remote = whole.remote
        self._kept: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self._kept[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._kept[name] = value

    def get(self, name: str, default: Any = None) -> Any:
        """What is kept under `name` for this request."""
        return self._kept.get(name, default)


def is_whole(request: object) -> bool:
    """Whether a handler was given a request from here."""
    return isinstance(request, WholeRequest)


class ExpressRoutes:
    """Answers the whole requests of some routes; an `Express` for `libs.runtime.preread`."""

    def __init__(self, routes: Sequence[tuple[str, Handler]], prepare: Prepare, max_body_bytes: int) -> None:
        """`routes`: paths with `{names}` in them, and who handles them. `prepare` sees each answer before it leaves."""
        self._routes = [(re.compile(_PARAMETER.sub(r"(?P<\1>[^/]+)", path)), handler) for path, handler in routes]
        self._prepare = prepare
        self._max_body_bytes = max_body_bytes
        self._second = 0
        self._common = b""

    def __call__(self, whole: Whole, is_last: Callable[[], bool]) -> Coroutine[None, None, Answer | None] | None:
        """The answer to come, where the request is for one of the routes."""
        path = whole.target.decode("latin-1")
        if len(whole.body) > self._max_body_bytes or _TARGET.fullmatch(path) is None or _STREAM.search(whole.body):
            return None
        for pattern, handler in self._routes:
            found = pattern.fullmatch(path)
            if found is not None:
                return self._answer(handler, WholeRequest(path, found.groupdict(), whole), is_last)
        return None

    async def _answer(self, handler: Handler, whole: WholeRequest, is_last: Callable[[], bool]) -> Answer | None:
        request = cast(web.Request, whole)  # a handler that looks at more of one is on no plain route
        try:
            response = await handler(request)
        except Detour:
            return None
        if not isinstance(response, web.Response) or not isinstance(response.body, bytes | None):
            raise TypeError("only a response with a body in memory can be sent from here")
        await self._prepare(request, response)
        return self._encode(response, last=is_last())

    def _encode(self, response: web.Response, *, last: bool) -> Answer:
        body = cast(bytes, response.body or b"")
        stays = not last and response.keep_alive is not False
        lines = [f"HTTP/1.1 {response.status} {response.reason}"]
        lines += [f"{name}: {value}" for name, value in response.headers.items()]
        if not all(map(str.isprintable, lines)):
            raise ValueError("a header of the answer is more than a line")
        lines += [f"Content-Length: {len(body)}"] if stays else [f"Content-Length: {len(body)}", "Connection: close"]
        return b"%b\r\n%b%b" % ("\r\n".join(lines).encode(), self._last_lines(), body), stays

    def _last_lines(self) -> bytes:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._common = f"Date: {formatdate(second, usegmt=True)}\r\nServer: {SERVER_SOFTWARE}\r\n\r\n".encode()
        return self._common
