"""Reads event streams as callers do: `python -m bench.readers`, an order on standard input, the result on its output.

Two things are measured with it: how long from a call to its first word, and how many events a second come through one
stream and through many. It reads the frames itself, for a client library would be the slowest part.
"""

import asyncio
import math
import sys
from time import perf_counter

import msgspec
import uvloop

_PATIENCE_SECONDS = 120.0


class StreamOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Send `request` on each of `streams` connections at once, `times` one after the other, and read each to its end.

    `mark`: what the first frame of interest holds.
    """

    port: int
    request: str
    mark: str
    streams: int = 1
    times: int = 1


class Streamed(msgspec.Struct, frozen=True, kw_only=True):
    """What was read: frames in all, how long it took, and milliseconds to each stream's first marked frame."""

    frames: int
    seconds: float
    firsts_milliseconds: list[float]


async def _read(order: StreamOrder) -> tuple[int, float]:
    """Frames of one stream, and seconds to the first that is marked."""
    reader, writer = await asyncio.open_connection("127.0.0.1", order.port, limit=2**20)
    began = perf_counter()
    writer.write(order.request.encode())
    frames, first = 0, math.inf
    mark, end = order.mark.encode(), b"\r\n0\r\n\r\n"
    held = b""
    while part := await reader.read(2**18):
        if math.isinf(first) and mark in held + part:
            first = perf_counter() - began
        frames += part.count(b"data: ")
        held = (held + part)[-64:]
        if held.endswith(end):
            break
    writer.close()
    return frames, first


async def stream(order: StreamOrder) -> Streamed:
    """Carry out the order. ValueError when a stream had no marked frame."""
    frames, firsts = 0, list[float]()
    began = perf_counter()
    async with asyncio.timeout(_PATIENCE_SECONDS):
        for _ in range(order.times):
            for count, first in await asyncio.gather(*[_read(order) for _ in range(order.streams)]):
                if not math.isfinite(first):
                    raise ValueError("a stream ended without what was to be in it")
                frames += count
                firsts.append(first * 1000)
    return Streamed(frames=frames, seconds=perf_counter() - began, firsts_milliseconds=sorted(firsts))


if __name__ == "__main__":
    found = uvloop.run(stream(msgspec.json.decode(sys.stdin.buffer.read(), type=StreamOrder)))
    sys.stdout.buffer.write(msgspec.json.encode(found))
