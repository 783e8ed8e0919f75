"""Requests over NATS: taken, decoded, answered, whatever becomes of them.

Verifications are answered as they come, in microseconds; each command runs as a task of its own, as many at a time
as `_MAX_COMMANDS`. What cannot be decoded, refused or not foreseen is answered too: a caller is never left to wait
for its timeout by anything but a dead process.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import msgspec
import structlog

from libs.events.auth_calls import MANAGE, QUEUE, VERIFY, Granted, Managed, Refused, Verify
from libs.events.broker import Broker, Msg, Unavailable
from libs.events.log import Conflict
from libs.runtime.failures import Retryable
from services.auth.commands import Commands
from services.auth.directory import Directory
from services.auth.metrics import REQUEST_SECONDS
from services.auth.refusals import Refusal
from services.auth.verification import verify

_MAX_COMMANDS = 64
_DRAIN_SECONDS = 6.0
"""A command takes at most about as long: what it writes is given up after five seconds."""

log = structlog.get_logger()

_verify_decoder = msgspec.json.Decoder(Verify)
_managed_decoder = msgspec.json.Decoder(Managed)
_encoder = msgspec.json.Encoder()

_BUSY = Refused(code="unavailable", message="too many commands at once; try again shortly")


class Responder:
    """Answers the requests of `auth.verify` and `auth.manage` that this process gets of its queue group's."""

    def __init__(self, broker: Broker, directory: Directory, commands: Commands, pepper: bytes) -> None:
        self._broker = broker
        self._directory = directory
        self._commands = commands
        self._pepper = pepper
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Take requests; on leaving, take no more and finish those in hand."""
        subscriptions = [
            await self._broker.subscribe(VERIFY, self._on_verify, queue=QUEUE),
            await self._broker.subscribe(MANAGE, self._on_manage, queue=QUEUE),
        ]
        try:
            yield
        finally:
            for subscription in subscriptions:
                await self._broker.drain(subscription)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_DRAIN_SECONDS)
            for task in self._tasks:
                task.cancel()

    async def _on_verify(self, message: Msg) -> None:
        async def respond() -> object:
            return verify(self._directory, self._pepper, _verify_decoder.decode(message.data))

        await self._answer(message, "verify", respond)

    async def _on_manage(self, message: Msg) -> None:
        async def respond() -> object:
            return await self._commands.obey(_managed_decoder.decode(message.data))

        if len(self._tasks) >= _MAX_COMMANDS:
            await self._send(message, _BUSY)
            return
        task = asyncio.create_task(self._answer(message, "manage", respond))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, message: Msg, call: str, respond: Callable[[], Awaitable[object]]) -> None:
        started = perf_counter()
        answer: Granted[Any] | Refused
        try:
            answer = Granted(answer=await respond())
        except Exception as error:
            answer = _as_refused(error)
            if answer.code == "unavailable":
                log.exception("request failed", call=call)
        await self._send(message, answer)
        REQUEST_SECONDS.labels(call).observe(perf_counter() - started)

    async def _send(self, message: Msg, answer: Granted[Any] | Refused) -> None:
        if not message.reply:
            return
        try:
            await self._broker.publish(message.reply, _encoder.encode(answer))
        except Unavailable:
            log.info("answer not sent")


def _as_refused(error: Exception) -> Refused:
    match error:
        case Refusal():
            return Refused(code=error.code, message=error.message, pointer=error.pointer)
        case msgspec.MsgspecError() | UnicodeDecodeError() | RecursionError():
            return Refused(code="invalid_input", message="the request cannot be understood")
        case Conflict():
            return Refused(code="conflict", message="there is one of this id already")
        case Retryable():
            return Refused(code="unavailable", message=error.message)
        case _:
            return Refused(code="unavailable", message="something failed on our side; it was logged")
