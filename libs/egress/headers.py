"""Headers on their way out, checked, and on their way in, made into text."""

import functools
import re
from collections.abc import Iterable, Mapping

from multidict import CIMultiDict

from libs.runtime.failures import Terminal

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")

# They frame the message or steer the connection: two readers that differ on them is request smuggling.
_OWNED = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_KEPT_NAMES = 1_024
_KEPT_CHARACTERS = 64
"""Longer names are judged each time: what is remembered is bounded in bytes, too."""

_ACCEPT_ENCODING = "gzip, deflate"
_DESCRIBES_COMPRESSED = ("content-encoding", "content-length")


def outgoing_headers(headers: Mapping[str, str], max_bytes: int) -> CIMultiDict[str]:
    """The headers to send; raises `Terminal` (`invalid_input`) for one that may not be sent, naming no value.

    `Accept-Encoding` is replaced: what may come back is what can be decompressed within bounds.
    """
    checked: CIMultiDict[str] = CIMultiDict()
    size = 0
    for name, value in headers.items():
        if not (_may_be_set(name) if len(name) <= _KEPT_CHARACTERS else _may_be_set.__wrapped__(name)):
            raise Terminal("invalid_input", f"the header {name} cannot be set")
        if value.isascii() and value.isprintable():  # most are, and this is much faster to see
            size += len(name) + len(value)
        elif _VALUE.fullmatch(value) and _encodes(value):
            size += len(name) + len(value.encode())
        else:
            raise Terminal("invalid_input", f"the value of the header {name} contains forbidden characters")
        checked[name] = value.strip(" \t")
    if size > max_bytes:
        raise Terminal("invalid_input", f"the headers are longer than {max_bytes} bytes")
    checked["Accept-Encoding"] = _ACCEPT_ENCODING
    return checked


def header_bytes(raw_headers: Iterable[tuple[bytes, bytes]]) -> int:
    """The size of received headers on the wire, line ends and separators included."""
    return sum(len(name) + len(value) + 4 for name, value in raw_headers)


def received_headers(raw_headers: Iterable[tuple[bytes, bytes]], *, decompressed: bool) -> dict[str, str]:
    """Received headers by lower-case name; bytes that are not UTF-8 read as Latin-1, so the text encodes."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in raw_headers:
        name = _received_name(raw_name) if len(raw_name) <= _KEPT_CHARACTERS else _text(raw_name).lower()
        value = _text(raw_value)
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    if decompressed:
        for name in _DESCRIBES_COMPRESSED:
            joined.pop(name, None)
    return joined


@functools.lru_cache(maxsize=_KEPT_NAMES)
def _may_be_set(name: str) -> bool:
    """Whether a caller may send a header of this name; raises `Terminal` where it is no name at all."""
    if not _TOKEN.fullmatch(name):
        raise Terminal("invalid_input", "a header name is not a token")
    return name.lower() not in _OWNED


@functools.lru_cache(maxsize=_KEPT_NAMES)
def _received_name(raw: bytes) -> str:
    return _text(raw).lower()


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
