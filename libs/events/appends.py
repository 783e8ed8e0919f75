"""One append, compared and acknowledged: the message is stored if it follows the one that it says it follows.

An append whose acknowledgement was lost may have been stored. The last message of what it was compared with, asked of
the stream's leader, tells: if that has moved and is what we sent, byte for byte, we are done; if it has not moved, we
send again, which is safe for the same reason. The server's codes for a failed comparison (10071, and 10164 under
replication, which occurs without a rival) both mean "look and decide".
"""

import asyncio
from time import perf_counter

import msgspec

from libs.events.broker import Broker, Unavailable
from libs.events.metrics import APPENDS, APPENDS_FAILED, CONFLICTS
from libs.events.reads import Refusal, Stored, last_message

_COMPARE_FAILED = frozenset({10071, 10164})
_ATTEMPT_SECONDS = 2.0


class Conflict(Exception):
    """Somebody else appended to the run first; `last` is the run's last message now."""

    def __init__(self, last: Stored) -> None:
        super().__init__("the run has moved on")
        self.last = last


class _PubAck(msgspec.Struct, frozen=True, gc=False):
    seq: int = 0
    error: Refusal | None = None


_ack_decoder = msgspec.json.Decoder(_PubAck)


async def append_message(
    broker: Broker,
    stream: str,
    subject: str,
    payload: bytes,
    *,
    after: int,
    compare: str | None = None,
    patience_seconds: float,
) -> int:
    """Store one message if the last one on `compare` (else on `subject`) has sequence `after`."""
    began = perf_counter()
    try:
        sequence = await _store(broker, stream, subject, payload, after, compare, patience_seconds)
    except Conflict:
        CONFLICTS.labels(stream).inc()
        raise
    except Unavailable:
        APPENDS_FAILED.labels(stream).inc()
        raise
    APPENDS.at(stream).observe(perf_counter() - began)
    return sequence


async def _store(
    broker: Broker, stream: str, subject: str, payload: bytes, after: int, compare: str | None, patience_seconds: float
) -> int:
    headers = {"Nats-Expected-Last-Subject-Sequence": str(after)}
    if compare is not None:
        headers["Nats-Expected-Last-Subject-Sequence-Subject"] = compare
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience_seconds
    pause = 0.02
    while True:
        attempt_seconds = min(_ATTEMPT_SECONDS, max(0.1, deadline - loop.time()))
        try:
            ack = _ack_decoder.decode((await broker.request(subject, payload, headers, attempt_seconds)).data)
            if ack.error is None:
                return ack.seq
            if ack.error.code != 503 and ack.error.err_code not in _COMPARE_FAILED:
                raise Unavailable(f"the event log refused an append: {ack.error.description}")
            last = await last_message(broker, stream, compare or subject)
            if last is not None and last.sequence != after:
                if last.subject == subject and last.payload == payload:
                    return last.sequence
                raise Conflict(last)
        except Unavailable:
            if loop.time() > deadline:
                raise
        else:
            if loop.time() > deadline:
                raise Unavailable
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.5)


async def store_message(broker: Broker, subject: str, payload: bytes, *, patience_seconds: float) -> int:
    """Store one message whatever is there already; it may be stored twice where an acknowledgement is lost."""
    deadline = asyncio.get_running_loop().time() + patience_seconds
    while True:
        try:
            ack = _ack_decoder.decode((await broker.request(subject, payload, timeout=_ATTEMPT_SECONDS)).data)
            if ack.error is None:
                return ack.seq
            raise Unavailable(f"the event log refused an append: {ack.error.description}")
        except Unavailable:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(0.1)
