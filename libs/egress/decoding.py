"""Decompression of answers that never holds more than a window of the result.

The HTTP library could decompress, too, but its bounds are on what it buffers, not on what a body may amount
to; here every window passes through the count of the reader (`libs.egress.body`).
"""

import zlib
from collections.abc import Iterator

from libs.runtime.failures import Retryable, Terminal

WINDOW_BYTES = 65_536
_MAX_MEMBERS = 1_000  # gzip bodies may be concatenated; empty members would cost work without ever counting
_GZIP = zlib.MAX_WBITS | 16
_ZLIB_METHOD = 8


def decoder_for(content_encoding: str, host: str) -> "Decoder | None":
    """The decoder for a `Content-Encoding` header, None for an unencoded body.

    Raises `Terminal` for an encoding that was not asked for, stacked ones among them.
    """
    encoding = content_encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip", "deflate"):
        return Decoder(encoding, host)
    raise Terminal("node_failed", f"{host} answered in a content encoding that was not asked for")


class Decoder:
    """One gzip or deflate body (RFC 9110, section 8.4.1) on its way in."""

    def __init__(self, encoding: str, host: str) -> None:
        self._gzip = encoding != "deflate"
        self._host = host
        self._members = 0
        self._stream: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` decompresses to, in windows; what follows the last gzip member is ignored, as
        browsers do.

        Raises `Retryable` for bytes that do not decompress, `Terminal` for an absurd number of members.
        """
        while data:
            if self._stream is None or (self._stream.eof and data.startswith(b"\x1f\x8b") and self._gzip):
                self._stream = self._new_stream(data)
            if self._stream.eof:
                return
            try:
                window = self._stream.decompress(data, WINDOW_BYTES)
            except zlib.error:
                raise Retryable("node_failed", f"the answer of {self._host} does not decompress") from None
            if window:
                yield window
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail

    def finish(self) -> None:
        """Raises `Retryable` if the body ended in the middle of a member."""
        if self._stream is not None and not self._stream.eof:
            raise Retryable("node_failed", f"the answer of {self._host} broke off")

    def _new_stream(self, data: bytes) -> "zlib._Decompress":
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise Terminal("node_failed", f"the answer of {self._host} has too many compressed members")
        if self._gzip:
            return zlib.decompressobj(_GZIP)
        # "deflate" means the zlib format, but servers exist that send the bare stream.
        wrapped = data[0] & 0x0F == _ZLIB_METHOD
        return zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
