"""What the client asks of the network, as values.

Everything that decides (HTTP, retries, resuming, waiting) is a generator that yields effects and is sent bytes; it
knows neither sockets nor asyncio. Two wires carry effects out: `blocking_wire` and `asyncio_wire`. So there is one
client, and it behaves the same in both worlds.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar, Union

from headgate_client.errors import ConnectionFailed

T = TypeVar("T")


@dataclass(frozen=True)
class Connect:
    """Close the connection there is, open another one and send `data`. Sends back b""."""

    host: str
    port: int
    timeout: float
    data: bytes


@dataclass(frozen=True)
class Read:
    """Wait for bytes. Sends back at least one, or b"" at the end of the connection."""

    timeout: float


@dataclass(frozen=True)
class Pause:
    """Wait. Sends back b""."""

    seconds: float


Effect = Union[Connect, Read, Pause]
Outcome = Union[bytes, ConnectionFailed]
"""What a wire says of an effect."""

Steps = Generator[Effect, bytes, T]
"""What is to be done for a `T`. An effect that fails is thrown in."""


def resume(steps: Steps[T], outcome: Outcome) -> Effect:
    """The next effect. StopIteration holds the result when there is none; a coroutine must not let it out."""
    return steps.throw(outcome) if isinstance(outcome, ConnectionFailed) else steps.send(outcome)


def failure_of(error: Exception) -> ConnectionFailed:
    """What a wire makes of the operating system's error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        failure = ConnectionFailed(f"the server's certificate does not hold: {error.verify_message}", transient=False)
    elif isinstance(error, (TimeoutError, socket.timeout)) or not str(error):
        failure = ConnectionFailed("the server did not answer in time")
    else:
        failure = ConnectionFailed(f"no answer from the server: {error}")
    failure.__cause__ = error
    return failure
