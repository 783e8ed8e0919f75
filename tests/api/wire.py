"""Requests as bytes on a socket, for what no client library would send."""

import socket
from collections.abc import Mapping
from typing import Self
from urllib.parse import urlsplit

from multidict import CIMultiDict

from tests.api.client import Answer

_TIMEOUT_SECONDS = 15.0

Headers = Mapping[str, str | bytes]


class Wire:
    """One connection. `with Wire(url) as wire: wire.send(...); wire.answer()`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=_TIMEOUT_SECONDS)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def request(
        self, method: str, target: str | bytes, headers: Mapping[str, str | bytes], body: bytes = b""
    ) -> Answer:
        """Send a request with a Host and a Content-Length; its answer."""
        self.send(head(method, target, {"Content-Length": str(len(body)), **headers}) + body)
        return self.answer(bodyless=method == "HEAD")

    def answer(self, *, bodyless: bool = False) -> Answer:
        """The next response, 100 Continue too. EOFError when the peer closes without one."""
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        start, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = start.decode().split("\r\n")
        headers = CIMultiDict[str]()
        for line in lines:
            name, _, value = line.partition(": ")
            headers.add(name, value)
        status = int(first.split()[1])
        length = 0 if bodyless or status in (100, 204) else int(headers.get("Content-Length", "0"))
        while len(self._buffer) < length:
            self._more()
        content, self._buffer = self._buffer[:length], self._buffer[length:]
        return Answer(status, headers, content)

    @property
    def closed(self) -> bool:
        """Whether the peer closes the connection; waits for it."""
        try:
            self._more()
        except EOFError:
            return True
        return False

    def _more(self) -> None:
        try:
            data = self._socket.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise EOFError
        self._buffer += data


def head(method: str, target: str | bytes, headers: Headers) -> bytes:
    """A request's head, byte for byte as given; `Host` is added where it lacks."""
    lines = [b" ".join((method.encode(), _bytes(target), b"HTTP/1.1"))]
    lines += [name.encode() + b": " + _bytes(value) for name, value in {"Host": "headgate", **headers}.items()]
    return b"\r\n".join([*lines, b"", b""])


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")
