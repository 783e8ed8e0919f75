"""Where the server is, read from what people paste."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Address:
    """A server. `prefix` is the path before the API's own, `""` or `/something`."""

    host: str
    port: int
    tls: bool
    prefix: str

    @property
    def authority(self) -> str:
        """The value of the `Host` header (RFC 9110, 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def read_address(base_url: str) -> Address:
    """The address in `base_url`, with or without scheme and trailing slash; ValueError when it is none.

    Without a scheme it is https, but http on this machine.
    """
    text = base_url.strip()
    if "://" not in text:
        host = urlsplit(f"//{text}").hostname
        text = f"{'http' if host in _LOCAL else 'https'}://{text}"
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("base_url must be a host or an http(s) URL, as in https://headgate.example")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("base_url takes no user, query or fragment; the key goes into api_key")
    tls = parts.scheme == "https"
    host = parts.hostname if ":" in parts.hostname else parts.hostname.encode("idna").decode()
    return Address(host=host, port=parts.port or (443 if tls else 80), tls=tls, prefix=parts.path.rstrip("/"))


def segment(text: str) -> str:
    """An id as one segment of a path. ValueError when it cannot be one."""
    if text.strip(".") == "":
        raise ValueError("an id is missing")
    return quote(text, safe="")
