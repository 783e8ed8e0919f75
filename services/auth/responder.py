"""Requests over NATS: taken, decoded, answered, whatever becomes of them.

Verifications are answered as they come, in microseconds, but for those of keys that may be new (see `newcomers`); each
command runs as a task of its own, as many at a time as `_MAX_COMMANDS`. What cannot be decoded, refused or not foreseen
is answered too: a caller is never left to wait for its timeout by anything but a dead process.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import Any

import msgspec
import structlog

from libs.events.appends import Conflict
from libs.events.auth_calls import MANAGE, QUEUE, VERIFY, Granted, Managed, Refused, Verify
from libs.events.broker import Msg, Unavailable
from libs.runtime.failures import Retryable
from services.auth.commands import Commands
from services.auth.metrics import REQUEST_SECONDS
from services.auth.newcomers import Newcomers
from services.auth.refusals import Refusal
from services.auth.replica import Replica
from services.auth.verification import verify

_MAX_COMMANDS = 64
_DRAIN_SECONDS = 6.0
"""A command takes at most about as long: what it writes is given up after five seconds."""

log = structlog.get_logger()

_verify_decoder = msgspec.json.Decoder(Verify)
_managed_decoder = msgspec.json.Decoder(Managed)
_encoder = msgspec.json.Encoder()

_LATER = object()
"""Something else answers, once it has asked."""

_BUSY = Refused(code="unavailable", message="too many commands at once; try again shortly")


class Responder:
    """Answers the requests of `auth.verify` and `auth.manage` that this process gets of its queue group's."""

    def __init__(self, replica: Replica, commands: Commands, pepper: bytes) -> None:
        self._broker = replica.broker
        self._directory = replica.directory
        self._newcomers = Newcomers(replica, pepper)
        self._commands = commands
        self._pepper = pepper
        self._commanded: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Task[None]] = set()

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
            if tasks := self._commanded | self._asking:
                await asyncio.wait(tasks, timeout=_DRAIN_SECONDS)
                for task in tasks:
                    task.cancel()

    async def _on_verify(self, message: Msg) -> None:
        async def respond() -> object:
            asked = _verify_decoder.decode(message.data)
            try:
                return verify(self._directory, self._pepper, asked)
            except Refusal:
                if not self._newcomers.may_be_one(asked.key):
                    raise
            _begin(self._asking, self._answer(message, "verify", partial(respond_with_news, asked)))
            return _LATER

        async def respond_with_news(asked: Verify) -> object:
            await self._newcomers.ask(asked.key)
            return verify(self._directory, self._pepper, asked)

        await self._answer(message, "verify", respond)

    async def _on_manage(self, message: Msg) -> None:
        async def respond() -> object:
            return await self._commands.obey(_managed_decoder.decode(message.data))

        if len(self._commanded) >= _MAX_COMMANDS:
            await self._send(message, _BUSY)
            return
        _begin(self._commanded, self._answer(message, "manage", respond))

    async def _answer(self, message: Msg, call: str, respond: Callable[[], Awaitable[object]]) -> None:
        started = perf_counter()
        answer: Granted[Any] | Refused
        try:
            found = await respond()
            if found is _LATER:
                return
            answer = Granted(answer=found)
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


def _begin(tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(work)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


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
