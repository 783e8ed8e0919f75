"""What goes out and what comes back."""

from collections.abc import AsyncIterator, Mapping

import msgspec


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request and the bounds within which its answer must come.

    `timeout_seconds` covers everything: the wait for a connection, redirects, the last byte of the body.
    `idle_timeout_seconds` bounds the silence between two bytes of the answer (streams of models).
    `max_body_bytes` bounds the decompressed body.
    """

    method: str
    url: str
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    timeout_seconds: float
    idle_timeout_seconds: float | None = None
    max_body_bytes: int
    follow_redirects: bool = True


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer.

    Header names are lower-case, values of one name joined by ", ". `body` is decompressed, and then the
    headers that described its compressed form are gone. `url` is that of the last hop.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    url: str


class Streamed(msgspec.Struct, frozen=True, kw_only=True):
    """An answer whose body is still coming: `chunks` may be read once, while the context that gave it is
    open.

    Reading raises the same failures as `Egress.fetch`.
    """

    status: int
    headers: dict[str, str]
    chunks: AsyncIterator[bytes]
    url: str
