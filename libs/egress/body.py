"""The body of an answer, counted while it comes."""

import asyncio
from collections.abc import Iterator

import aiohttp

from libs.egress.decoding import Decoder
from libs.egress.faults import body_too_large, failure_of, timed_out

# A compressed body may be a little larger than what it holds, never much; without this bound a body that
# decompresses to nothing could go on until the timeout.
_WIRE_SLACK_BYTES = 65_536


class BodyReader:
    """An async iterator over the decompressed chunks of one answer.

    Raises `Terminal` once the body passes `max_body_bytes`, `Retryable` when it breaks off or passes
    `deadline` (a time of the event loop). Each step stands alone: nothing is left running when the reader
    is dropped.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        decoder: Decoder | None,
        *,
        host: str,
        max_body_bytes: int,
        deadline: float,
    ) -> None:
        self._content = response.content
        self._decoder = decoder
        self._host = host
        self._max_body_bytes = max_body_bytes
        self._deadline = deadline
        self._windows: Iterator[bytes] = iter(())
        self._received = 0
        self._given = 0

    def __aiter__(self) -> "BodyReader":
        return self

    async def __anext__(self) -> bytes:
        while (window := next(self._windows, None)) is None:
            data = await self._read()
            if not data:
                if self._decoder is not None:
                    self._decoder.finish()
                raise StopAsyncIteration
            self._windows = iter((data,)) if self._decoder is None else self._decoder.feed(data)
        self._given += len(window)
        if self._given > self._max_body_bytes:
            raise body_too_large(self._host, self._max_body_bytes)
        if self._decoder is not None:
            # A small piece of the wire can be a thousand windows: let others run in between.
            await asyncio.sleep(0)
        return window

    async def whole(self) -> bytes:
        """All that is still to come, at once; for most answers all of it is here."""
        if self._decoder is None and self._content.is_eof():
            data = await self._read()
            if len(data) > self._max_body_bytes:
                raise body_too_large(self._host, self._max_body_bytes)
            return data
        return b"".join([window async for window in self])

    async def _read(self) -> bytes:
        """The next bytes of the wire, b"" at the end."""
        if asyncio.get_running_loop().time() >= self._deadline:
            raise timed_out(self._host)
        try:
            if self._content.is_eof():  # all of it is here, as it is for most answers: nothing to wait for
                data = await self._content.readany()
            else:
                async with asyncio.timeout_at(self._deadline):
                    data = await self._content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise failure_of(error, self._host) from None
        self._received += len(data)
        if self._received > 2 * self._max_body_bytes + _WIRE_SLACK_BYTES:
            raise body_too_large(self._host, self._max_body_bytes)
        return data
