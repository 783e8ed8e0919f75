"""A server that sends, byte for byte, what a test tells it to, and hangs up when told: no HTTP library would."""

import asyncio
import json
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

_READ_SECONDS = 20.0


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """One request. `at` is the loop's time."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    at: float


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """One answer: pieces that are written one by one. `reset`: the connection is then torn, otherwise it is closed.

    `held`: it stays open and silent until the client leaves.
    """

    pieces: tuple[bytes, ...] = ()
    reset: bool = False
    held: bool = False


class Wire:
    """Made by `serving`. Each path has its answers in order, the last of them for ever."""

    def __init__(self) -> None:
        self.url = ""
        self.received: list[Received] = []
        self._answers: dict[str, deque[Sent]] = defaultdict(deque)

    def answer(self, call: str, *answers: Sent) -> None:
        """Answer `call` (`"POST /path"`) so."""
        self._answers[call].extend(answers)

    def to(self, call: str) -> list[Received]:
        """What came for a call, oldest first."""
        return [each for each in self.received if f"{each.method} {each.path}" == call]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: a request and its answer."""
        try:
            async with asyncio.timeout(_READ_SECONDS):
                request = await _read(reader)
                self.received.append(request)
                await self._send(self._next(request), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client left, as some of these tests want it to
        finally:
            writer.close()

    def _next(self, request: Received) -> Sent:
        answers = self._answers.get(f"{request.method} {request.path}")
        if not answers:
            return problem(404, "not_found", "There is nothing at this address.")
        return answers.popleft() if len(answers) > 1 else answers[0]

    async def _send(self, sent: Sent, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in sent.pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if sent.held:
            await reader.read()
        if sent.reset:
            writer.transport.abort()


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    at = asyncio.get_running_loop().time()
    return Received(method=method, path=path, headers=headers, body=json.loads(body) if body else None, at=at)


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Wire]:
    """A wire on a free port of loopback."""
    wire = Wire()
    server = await asyncio.start_server(wire.handle, "127.0.0.1", 0, ssl=tls)
    wire.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield wire


def head(status: int, headers: dict[str, str]) -> bytes:
    """The head of an answer on a connection that ends with it."""
    lines = [f"HTTP/1.1 {status} Reason", "Connection: close", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(status: int, body: Any, **headers: str) -> Sent:
    """A whole answer; underscores in names of headers are hyphens."""
    content = json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    length = {"Content-Type": "application/json", "Content-Length": str(len(content))}
    return Sent(pieces=(head(status, {**length, **named}) + content,))


def problem(status: int, code: str, detail: str, **more: Any) -> Sent:
    """A refusal in problem+json; `headers` are its headers."""
    headers = more.pop("headers", {})
    body = {"type": "about:blank", "title": "Title", "status": status, "detail": detail, "code": code, **more}
    return answer(status, {"request_id": "req_1", **body}, **headers)


def stream(*pieces: bytes, run_id: str | None = "run_1", **end: bool) -> Sent:
    """An event stream in chunks, one a piece. `whole=True` ends it as HTTP says; `reset` and `held` as for Sent."""
    whole = end.pop("whole", False)
    named = {"Headgate-Run-Id": run_id} if run_id else {}
    opening = head(200, {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked", **named})
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces]
    return Sent(pieces=(opening, *chunks, *([b"0\r\n\r\n"] if whole else [])), **end)


def frame(seq: int, kind: str, data: Any = None, run_id: str = "run_1") -> bytes:
    """An event as the product writes it."""
    event = {"type": kind, "seq": seq, "run_id": run_id, "at": "2026-01-01T00:00:00Z", "data": data or {}}
    return f"id: {seq}\nevent: {kind}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def frames(kinds: Sequence[str], first: int = 1) -> list[bytes]:
    """The frames of these events, counted from `first`."""
    return [frame(seq, kind) for seq, kind in enumerate(kinds, first)]


def run(status: str = "completed", output: Any = "Hello", **more: Any) -> dict[str, Any]:
    """A run object."""
    usage = {"input_tokens": 3, "output_tokens": 4, "cost_usd": 0.5}
    return {"id": "run_1", "status": status, "output": output, "error": None, "usage": usage, **more}
