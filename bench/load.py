"""The generator of load: N connections, each of which asks again as soon as it is answered (a closed loop).

It is a process of its own, `python -m bench.load`, so that it takes nothing from the loop of what it measures. The
order comes as JSON on standard input (an order holds a key, and the arguments of a process are for everybody to
read), the result leaves as JSON on standard output. It speaks as much HTTP/1.1 as it needs: keep-alive, one request at
a time on a connection, answers with a `Content-Length`. So it is cheap: on two cores it shares with what it measures.
"""

import asyncio
import math
import resource
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import cast

import msgspec
import uvloop

_OPEN_SECONDS = 5.0


class LoadError(Exception):
    """The generator of load failed; the message holds what it said."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask, of whom, how often. A good answer has the `status` and holds `expect`.

    Answers are waited for until `patience_seconds` after the end.
    """

    port: int
    path: str
    headers: dict[str, str] = {}
    body: str
    expect: str
    status: int = 200
    connections: int
    seconds: float
    warmup_seconds: float
    patience_seconds: float = 5.0


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What came back.

    `answered` counts every good answer, warm-up included. The rest is about the requests sent in the `seconds` after
    it. `failures` are bad answers, broken connections, and requests that nobody answered in time.
    """

    answered: int
    counted: int
    failures: int
    seconds: float
    p50_milliseconds: float
    p99_milliseconds: float
    cpu_seconds: float


class _Tally:
    """What all connections share: the request, the clock, the counts."""

    def __init__(self, order: Order) -> None:
        self.request = encode_request(order)
        self.begins = perf_counter() + order.warmup_seconds
        self.ends = self.begins + order.seconds
        self.latencies: list[float] = []
        self.answered = 0
        self.failures = 0
        self.open = order.connections
        self.idle = asyncio.Event()
        self._expect = order.expect.encode()
        self._begin = f"HTTP/1.1 {order.status}".encode()

    def take(self, sent_at: float, answer: bytearray) -> bool:
        """Count an answer; whether to go on asking."""
        now = perf_counter()
        if answer.startswith(self._begin) and self._expect in answer:
            self.answered += 1
            if self.begins <= sent_at < self.ends:
                self.latencies.append(now - sent_at)
        else:
            self.failures += 1
        return now < self.ends

    def closed(self) -> None:
        """A connection has ended."""
        self.open -= 1
        if not self.open:
            self.idle.set()


class _Connection(asyncio.Protocol):
    def __init__(self, tally: _Tally) -> None:
        self._tally = tally
        self._answer = bytearray()
        self._expected: int | None = None
        self._sent_at = 0.0
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._expected is None:
            self._expected = answer_length(self._answer)
        if self._expected is None or len(self._answer) < self._expected:
            return
        self._waiting = False
        if self._tally.take(self._sent_at, self._answer):
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self._waiting:
            self._tally.failures += 1
        self._tally.closed()

    def _ask(self) -> None:
        self._answer.clear()
        self._expected, self._waiting = None, True
        self._sent_at = perf_counter()
        self._transport.write(self._tally.request)


def encode_request(order: Order) -> bytes:
    """The request as it goes over the wire."""
    body = order.body.encode()
    headers = {"Host": f"127.0.0.1:{order.port}", "Content-Type": "application/json", **order.headers}
    lines = [f"POST {order.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


def answer_length(answer: bytes | bytearray) -> int | None:
    """The length of the whole answer, in bytes; None while its head is not complete.

    ValueError for one without `Content-Length`: this generator reads no other.
    """
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return None
    for line in bytes(answer[:head]).split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return head + 4 + int(value)
    raise ValueError("an answer without Content-Length")


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank); 0 of no values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


async def generate(order: Order) -> Load:
    """Carry out the order. OSError when nobody listens."""
    loop = asyncio.get_running_loop()
    cpu_before = _cpu_seconds()
    tally = _Tally(order)
    async with asyncio.timeout(_OPEN_SECONDS):
        for _ in range(order.connections):
            await loop.create_connection(lambda: _Connection(tally), "127.0.0.1", order.port)
    unanswered = 0
    try:
        async with asyncio.timeout(tally.ends - perf_counter() + order.patience_seconds):
            await tally.idle.wait()
    except TimeoutError:
        unanswered = tally.open
    ordered = sorted(tally.latencies)
    return Load(
        answered=tally.answered,
        counted=len(ordered),
        failures=tally.failures + unanswered,
        seconds=order.seconds,
        p50_milliseconds=percentile(ordered, 0.50) * 1000,
        p99_milliseconds=percentile(ordered, 0.99) * 1000,
        cpu_seconds=_cpu_seconds() - cpu_before,
    )


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    found = uvloop.run(generate(msgspec.json.decode(sys.stdin.buffer.read(), type=Order)))
    sys.stdout.buffer.write(msgspec.json.encode(found))
