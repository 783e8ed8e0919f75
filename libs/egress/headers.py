"""Headers on their way out, checked, and on their way in, made into text."""

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
_ACCEPT_ENCODING = "gzip, deflate"
_DESCRIBES_COMPRESSED = ("content-encoding", "content-length")


def outgoing_headers(headers: Mapping[str, str], max_bytes: int) -> CIMultiDict[str]:
    """The headers to send; raises `Terminal` (`invalid_input`) for one that may not be sent, naming no value.

    `Accept-Encoding` is replaced: what may come back is what can be decompressed within bounds.
    """
    checked: CIMultiDict[str] = CIMultiDict()
    size = 0
    for name, value in headers.items():
        if not _TOKEN.fullmatch(name):
            raise Terminal("invalid_input", "a header name is not a token")
        if name.lower() in _OWNED:
            raise Terminal("invalid_input", f"the header {name} cannot be set")
        if not _VALUE.fullmatch(value) or not _encodes(value):
            raise Terminal("invalid_input", f"the value of the header {name} contains forbidden characters")
        size += len(name) + len(value.encode())
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
        name, value = _text(raw_name).lower(), _text(raw_value)
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    if decompressed:
        for name in _DESCRIBES_COMPRESSED:
            joined.pop(name, None)
    return joined


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
