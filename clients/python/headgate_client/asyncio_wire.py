"""Effects on asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from headgate_client.effects import Connect, Effect, Outcome, Read, Steps, T, failure_of, resume

_MOST_BYTES = 64 * 1024


class AsyncioWire:
    """At most one connection. `tls` None: in plain."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def perform(self, steps: Steps[T]) -> T:
        """Do what the steps ask for, and answer what they come to."""
        try:
            effect = next(steps)
            while True:
                effect = resume(steps, await self._outcome(effect))
        except StopIteration as end:
            result: T = end.value
            return result

    def close(self) -> None:
        """Drop the connection, if there is one. Nothing is lost: an answer was read, or nobody wants it any more."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _outcome(self, effect: Effect) -> Outcome:
        try:
            return await self._do(effect)
        except (OSError, asyncio.TimeoutError) as error:
            return failure_of(error)

    async def _do(self, effect: Effect) -> bytes:
        if isinstance(effect, Read):
            return await self._read(effect)
        self.close()
        if isinstance(effect, Connect):
            await asyncio.wait_for(self._connect(effect), effect.timeout)
        else:
            await asyncio.sleep(effect.seconds)
        return b""

    async def _connect(self, effect: Connect) -> None:
        self._streams = await asyncio.open_connection(effect.host, effect.port, ssl=self._tls)
        writer = self._streams[1]
        # A server may refuse a body before it has read it all: its answer may still be there to read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            writer.write(effect.data)
            await writer.drain()

    async def _read(self, effect: Read) -> bytes:
        if self._streams is None:
            raise ConnectionError("there is no connection")
        return await asyncio.wait_for(self._streams[0].read(_MOST_BYTES), effect.timeout)
