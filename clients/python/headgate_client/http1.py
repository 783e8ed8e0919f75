"""HTTP/1.1 as this client needs it (RFC 9112): one request a connection, its answer read piece by piece.

No I/O. The standard library has HTTP for blocking code only; here both kinds of client read with the same code.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from http.client import HTTPException, parse_headers

from headgate_client.address import Address
from headgate_client.effects import Connect, Read, Steps
from headgate_client.errors import ConnectionFailed

_LONGEST_HEAD_BYTES = 64 * 1024
_LONGEST_LINE_BYTES = 4 * 1024
_PIECE_BYTES = 64 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r)")
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f]")


class Inflow:
    """The bytes of one connection. `timeout` tells, at each read, how many seconds of silence are allowed."""

    def __init__(self, timeout: Callable[[], float]) -> None:
        self._timeout = timeout
        self._buffer = bytearray()

    def through(self, mark: bytes, limit: int) -> Steps[bytes]:
        """Everything up to and with `mark`."""
        searched = 0
        while (at := self._buffer.find(mark, searched)) < 0:
            if len(self._buffer) > limit:
                raise ConnectionFailed("the answer is not HTTP")
            searched = max(0, len(self._buffer) - len(mark) + 1)
            if not (yield from self._more()):
                raise ConnectionFailed("the connection ended in the middle of an answer")
        return self._take(at + len(mark))

    def piece(self, most: int) -> Steps[bytes]:
        """What is there, up to `most` bytes; b"" at the end of the connection."""
        if not self._buffer:
            yield from self._more()
        return self._take(most)

    def _more(self) -> Steps[bool]:
        data = yield Read(self._timeout())
        self._buffer += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


class Reply:
    """An answer whose head has come. Names of `headers` are lower-case."""

    def __init__(self, status: int, headers: Mapping[str, str], inflow: Inflow) -> None:
        self.status = status
        self.headers = headers
        self._inflow = inflow
        self._chunked = headers.get("transfer-encoding", "").lower().endswith("chunked")
        self._left = _length(status, headers)
        self._ended = status in (204, 304)

    def piece(self) -> Steps[bytes]:
        """The next bytes of the body, b"" at its end. A body that is cut short is a `ConnectionFailed`."""
        if self._ended:
            return b""
        if self._chunked and self._left == 0 and not (yield from self._next_chunk()):
            return b""
        most = _PIECE_BYTES if self._left is None else min(self._left, _PIECE_BYTES)
        data = (yield from self._inflow.piece(most)) if most else b""
        if self._left is None:
            self._ended = not data
            return data
        if self._left and not data:
            raise ConnectionFailed("the connection ended in the middle of an answer")
        self._left -= len(data)
        if self._chunked and self._left == 0:
            yield from self._inflow.through(b"\r\n", _LONGEST_LINE_BYTES)
        return data

    def _next_chunk(self) -> Steps[bool]:
        line = yield from self._inflow.through(b"\r\n", _LONGEST_LINE_BYTES)
        size = re.match(rb"[0-9A-Fa-f]{1,15}", line)
        if size is None:
            raise ConnectionFailed("the answer is not HTTP")
        self._left = int(size[0], 16)
        self._ended = self._left == 0  # trailers are of no interest, and the connection ends with them
        return not self._ended


def open_reply(address: Address, request: bytes, connect_timeout: float, timeout: Callable[[], float]) -> Steps[Reply]:
    """Send a request on a connection of its own; interim answers (1xx) are passed over."""
    yield Connect(host=address.host, port=address.port, timeout=connect_timeout, data=request)
    inflow = Inflow(timeout)
    while True:
        head = yield from inflow.through(b"\r\n\r\n", _LONGEST_HEAD_BYTES)
        status, headers = _read_head(head)
        if status >= 200:
            return Reply(status, headers, inflow)


def encode_request(address: Address, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """The request as it is sent. ValueError when a header's value cannot be one."""
    framing = {"Host": address.authority, "Connection": "close", "Accept-Encoding": "identity"}
    if body is not None:
        framing |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{method} {address.prefix}{path} HTTP/1.1"]
    for name, value in {**framing, **headers}.items():
        if _FORBIDDEN.search(value) or not value.isascii():
            raise ValueError(f"the value for {name} holds characters that no header may")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (body or b"")


def _read_head(head: bytes) -> tuple[int, dict[str, str]]:
    first, _, rest = head.partition(b"\r\n")
    status = _STATUS.match(first + b"\r")
    if status is None:
        raise ConnectionFailed("the answer is not HTTP")
    try:
        message = parse_headers(io.BytesIO(rest))
    except HTTPException as error:
        raise ConnectionFailed("the answer is not HTTP") from error
    return int(status[1]), {name.lower(): value for name, value in message.items()}


def _length(status: int, headers: Mapping[str, str]) -> int | None:
    """How many bytes are left: 0 before the first chunk, None where the body ends with the connection."""
    if headers.get("transfer-encoding", "").lower().endswith("chunked") or status in (204, 304):
        return 0
    text = headers.get("content-length", "")
    return int(text) if re.fullmatch("[0-9]{1,15}", text) else None
