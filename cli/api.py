"""The HTTP API as the command line and the supervisor call it: JSON in, JSON out, refusals as `ApiError`."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec

from cli.failures import CommandError
from cli.sse import SseEvent, read_events

_CALL = aiohttp.ClientTimeout(total=60, sock_connect=5)
_STREAM = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=45)
"""A stream sends a comment at least every 15 seconds, so 45 without a byte mean that it is dead."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with an input, and where."""

    pointer: str = ""
    detail: str = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of `application/problem+json` (RFC 9457) that people need."""

    title: str = ""
    detail: str = ""
    code: str = ""
    request_id: str = ""
    errors: list[Fault] = []


class ApiError(CommandError):
    """The server refused a call; `status` is HTTP's."""

    def __init__(self, status: int, problem: Problem, retry_after: str | None = None) -> None:
        summary = problem.detail or problem.title or "the server gave no reason"
        told = [fault for fault in problem.errors if not (fault.pointer in summary and fault.detail in summary)]
        faults = "".join(f"\n  {fault.pointer or '/'}: {fault.detail}" for fault in told)
        super().__init__(f"{summary}{faults}", _next_step(status, retry_after))
        self.status = status
        self.problem = problem


class UnreachableError(CommandError):
    """No answer came: the server is not there, or the connection broke."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "Is Headgate running? Start it with: make run. Elsewhere: set HEADGATE_URL.")


def _next_step(status: int, retry_after: str | None) -> str:
    match status:
        case 401:
            return "Set HEADGATE_API_KEY to a key, or HEADGATE_DATA to the directory whose admin.key it is."
        case 403:
            return "The key lacks this right; headgate keys list shows what each may do."
        case 404:
            return "headgate flows list shows the flows, headgate runs the runs."
        case 429 if retry_after:
            return f"Try again in {retry_after} s."
        case _:
            return ""


class Api:
    """One server and one key. The key travels in a header only."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.url = url
        self._session = session

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, str] | None = None,
    ) -> Any:
        """The decoded answer, None for an empty one. Raises `ApiError` and `UnreachableError`."""
        try:
            async with self._session.request(
                method, self.url + path, data=_encoded(body), params=params, timeout=_CALL
            ) as answer:
                content = await answer.read()
                _refuse(answer, content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"no answer from {self.url}: {_reason(error)}") from error
        return msgspec.json.decode(content) if content else None

    async def pages(self, path: str, params: Mapping[str, str] | None = None) -> AsyncIterator[Any]:
        """Every item of a list, over all its pages."""
        cursor: str | None = None
        while True:
            query = {"limit": "100", **(params or {}), **({"cursor": cursor} if cursor else {})}
            page = await self.call("GET", path, params=query)
            for item in page["data"]:
                yield item
            if not (cursor := page.get("next_cursor")):
                return

    async def lines(self, path: str, params: Mapping[str, str]) -> AsyncIterator[bytes]:
        """The lines of an `application/x-ndjson` answer as they come, each a JSON document."""
        try:
            async with self._session.get(self.url + path, params=params, timeout=_STREAM) as answer:
                if answer.status >= 400:
                    _refuse(answer, await answer.read())
                rest = b""
                async for part in answer.content.iter_any():
                    *whole, rest = (rest + part).split(b"\n")
                    for line in whole:
                        yield line
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"the answer from {self.url} broke off: {_reason(error)}") from error

    async def stream(
        self, method: str, path: str, *, body: object = None, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[SseEvent]:
        """The events of a `text/event-stream` answer until it ends; nothing for 204 (nothing is left)."""
        headers = {"Accept": "text/event-stream", **(headers or {})}
        try:
            async with self._session.request(
                method, self.url + path, data=_encoded(body), headers=headers, timeout=_STREAM
            ) as answer:
                if answer.status >= 400:
                    _refuse(answer, await answer.read())
                if answer.status == 204:
                    return
                async for event in read_events(answer.content.iter_any()):
                    yield event
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise UnreachableError(f"the stream from {self.url} broke: {_reason(error)}") from error


@asynccontextmanager
async def connected(url: str, key: str) -> AsyncIterator[Api]:
    """A client of the server at `url` (no trailing slash) with a key."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield Api(session, url)


async def is_ready(session: aiohttp.ClientSession, url: str) -> tuple[bool, str]:
    """What `/readyz` at `url` says: ready or not, and what it still waits for."""
    try:
        async with session.get(f"{url}/readyz", timeout=aiohttp.ClientTimeout(total=2)) as answer:
            return answer.status == 200, (await answer.text())[:200]
    except (TimeoutError, aiohttp.ClientError, OSError):
        return False, "it does not answer yet"


def _encoded(body: object) -> bytes | None:
    return None if body is None else msgspec.json.encode(body)


def _refuse(answer: aiohttp.ClientResponse, content: bytes) -> None:
    if answer.status < 400:
        return
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except (msgspec.DecodeError, msgspec.ValidationError):
        problem = Problem(title=f"HTTP {answer.status}", detail=content[:300].decode("utf-8", "replace"))
    raise ApiError(answer.status, problem, answer.headers.get("Retry-After"))


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or "nothing listens there"
    return "it took too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
