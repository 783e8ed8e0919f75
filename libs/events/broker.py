"""The connection to NATS: how it is made, what happens when it breaks, and requests over it.

Requests share one inbox and one sweep for timeouts, which costs half of what a subscription and a timer for each
would. Nothing is buffered while the connection is down: a request then fails at once with `Unavailable`, so that
no caller is told "no" about something that is sent later all the same.
"""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg as Msg
from nats.aio.subscription import Subscription
from nats.aio.transport import TcpTransport

from libs.runtime.failures import Retryable

_SWEEP_SECONDS = 0.1
_CLOSE_SECONDS = 2.0
_PENDING_BYTES = 512 * 1024 * 1024

log = structlog.get_logger()


class Unavailable(Retryable):
    """The log cannot be reached or did not answer in time; whether a write was stored is not known."""

    def __init__(self, message: str = "the event log cannot be reached") -> None:
        super().__init__("unavailable", message, after=1.0)


class _Waiting(msgspec.Struct, gc=False):
    future: asyncio.Future[list[Msg]]
    deadline: float
    many: bool
    messages: list[Msg]


class Broker:
    """One NATS connection and its inbox. Made by `connect`."""

    def __init__(self, client: Client, inbox: str) -> None:
        self.client = client
        self._inbox = inbox
        self._waiting: dict[str, _Waiting] = {}
        self._numbers = itertools.count()
        self._on_reconnect: list[Callable[[], None]] = []

    @property
    def connected(self) -> bool:
        """Whether a message sent now would reach a server."""
        return self.client.is_connected

    @property
    def max_payload(self) -> int:
        """The largest message, headers included, that the server takes, in bytes."""
        return self.client.max_payload

    def on_reconnect(self, call: Callable[[], None]) -> None:
        """Have `call` called after each reconnect: what was said meanwhile on core NATS is lost."""
        self._on_reconnect.append(call)

    def forget_reconnect(self, call: Callable[[], None]) -> None:
        """Undo `on_reconnect`."""
        self._on_reconnect.remove(call)

    def new_inbox(self) -> str:
        """A subject of this connection's own, to subscribe with tokens of the caller's below it."""
        return f"{self._inbox}-{next(self._numbers)}"

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Stop listening; nothing to do when the connection is gone."""
        with suppress(nats.errors.Error):
            await subscription.unsubscribe()

    async def drain(self, subscription: Subscription) -> None:
        """Stop listening, after what the server has already sent was handled."""
        if self.client.is_connected:
            with suppress(nats.errors.Error, TimeoutError):
                async with asyncio.timeout(1.0):
                    await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py leaves it untyped
                    return
            # A drain that was cut off leaves the subscription's task and its place in the client behind.
            subscription._closed = False
        await self.unsubscribe(subscription)

    async def publish(self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Send on core NATS, to whoever listens now; `Unavailable` while disconnected."""
        if not self.client.is_connected:
            raise Unavailable
        await self.client.publish(subject, payload, headers=headers)

    async def publish_with_reply(self, subject: str, payload: bytes, reply: str) -> None:
        """Send and have the answers go to `reply`."""
        if not self.client.is_connected:
            raise Unavailable
        await self.client.publish(subject, payload, reply=reply)

    async def subscribe(self, subject: str, call: Callable[[Msg], Awaitable[None]], queue: str = "") -> Subscription:
        """Have `call` called for each message on a core NATS subject, one after the other."""
        return await self.client.subscribe(subject, queue=queue, cb=call, pending_bytes_limit=_PENDING_BYTES)

    @asynccontextmanager
    async def listen(self, subject: str, pending: int) -> AsyncIterator[asyncio.Queue[Msg | None]]:
        """A queue of what is heard on `subject`, from before the server sees any later request of ours.

        None in it means that something may have been missed: the connection was renewed, or more than `pending`
        messages were waiting.
        """
        queue: asyncio.Queue[Msg | None] = asyncio.Queue()

        def missed() -> None:
            if queue.qsize() <= pending:
                queue.put_nowait(None)

        async def heard(message: Msg) -> None:
            if queue.qsize() < pending:
                queue.put_nowait(message)
            else:
                missed()

        subscription = await self.client.subscribe(subject, cb=heard, pending_bytes_limit=_PENDING_BYTES)
        self.on_reconnect(missed)
        try:
            yield queue
        finally:
            self.forget_reconnect(missed)
            await self.unsubscribe(subscription)

    async def request(
        self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None, timeout: float = 2.0
    ) -> Msg:
        """One answer. `Unavailable` after `timeout` seconds or when nobody listens."""
        (answer,) = await self._ask(subject, payload, headers, timeout, many=False)
        if not answer.data and answer.headers and answer.headers.get("Status") == "503":
            raise Unavailable
        return answer

    async def request_many(self, subject: str, payload: bytes, timeout: float = 5.0) -> list[Msg]:
        """The answers up to and with the first that has a `Status` header (batched direct get)."""
        return await self._ask(subject, payload, None, timeout, many=True)

    async def _ask(
        self, subject: str, payload: bytes, headers: dict[str, str] | None, timeout: float, *, many: bool
    ) -> list[Msg]:
        if not self.client.is_connected:
            raise Unavailable
        loop = asyncio.get_running_loop()
        token = str(next(self._numbers))
        waiting = _Waiting(loop.create_future(), loop.time() + timeout, many, [])
        self._waiting[token] = waiting
        try:
            await self.client.publish(subject, payload, reply=f"{self._inbox}.{token}", headers=headers)
            return await waiting.future
        finally:
            self._waiting.pop(token, None)

    async def on_answer(self, message: Msg) -> None:
        """The inbox's subscriber."""
        waiting = self._waiting.get(message.subject.rpartition(".")[2])
        if waiting is None or waiting.future.done():
            return
        waiting.messages.append(message)
        if not waiting.many or (message.headers and "Status" in message.headers):
            waiting.future.set_result(waiting.messages)

    async def sweep(self) -> None:
        """Fail the requests whose time is over, for as long as the connection lives."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            now = loop.time()
            for waiting in [w for w in self._waiting.values() if w.deadline < now and not w.future.done()]:
                waiting.future.set_exception(Unavailable("the event log did not answer in time"))

    def disconnected(self) -> None:
        """Fail the requests under way: no answer comes any more to what was sent."""
        for waiting in self._waiting.values():
            if not waiting.future.done():
                waiting.future.set_exception(Unavailable("the connection to the event log was lost"))

    def reconnected(self) -> None:
        """Tell those who asked to know."""
        for call in self._on_reconnect:
            call()


@asynccontextmanager
async def connect(url: str, name: str, on_lost: Callable[[], None]) -> AsyncIterator[Broker]:
    """A connection that waits for a server and reconnects for ever.

    `on_lost` is called when the client gives up all the same: the process is of no more use then.
    """
    leaving = False

    async def lost() -> None:
        if not leaving:
            on_lost()

    async def failed(error: Exception) -> None:
        if isinstance(error, nats.errors.Error | OSError):
            log.warning("broker connection failed", error=f"{type(error).__name__}: {error}")
        else:
            log.error("a message could not be handled", exc_info=error)

    async def disconnected() -> None:
        broker.disconnected()

    async def reconnected() -> None:
        log.info("broker connection restored")
        broker.reconnected()

    client = Client()
    client._transport = _Transport()  # type: ignore[no-untyped-call]  # nats-py leaves it untyped
    inbox = f"_INBOX.{name}.{secrets.token_hex(6)}"
    broker = Broker(client, inbox)
    await client.connect(
        url,
        name=name,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,  # type: ignore[arg-type]  # any number of seconds works
        connect_timeout=5,
        ping_interval=5,
        max_outstanding_pings=2,
        allow_reconnect=True,
        error_cb=failed,
        disconnected_cb=disconnected,
        reconnected_cb=reconnected,
        closed_cb=lost,
        pending_size=64 * 1024 * 1024,
    )
    await client.subscribe(f"{inbox}.*", cb=broker.on_answer, pending_bytes_limit=_PENDING_BYTES)
    sweeper = asyncio.create_task(broker.sweep())
    try:
        yield broker
    finally:
        leaving = True
        await client.close()
        sweeper.cancel()


class _Transport(TcpTransport):
    """A connection that closes in bounded time.

    The client waits for that before it reconnects, and what was written to a server that no longer reads (a cut
    cable, a frozen machine) would keep it waiting for as long as the kernel tries: a quarter of an hour.
    """

    def __bool__(self) -> bool:
        """Keeps the client from making a transport of its own on the first connection."""
        return True

    async def wait_closed(self) -> None:
        if self._io_writer is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._io_writer.wait_closed()
        except TimeoutError:
            self._io_writer.transport.abort()
