"""The connection to NATS: how it is made, what happens when it breaks, and requests over it.

Requests share one inbox and one sweep for timeouts, which costs half of what a subscription and a timer for each
would, and what is heard and said often goes past the client's queues (`wire`, `transport`). Nothing is buffered
while the connection is down: a request then fails at once with `Unavailable`, so that no caller is told "no" about
something that is sent later all the same.
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

from libs.events.access import ANYBODY, Access
from libs.events.metrics import CONNECTED, RECONNECTS
from libs.events.transport import WireTransport
from libs.events.wire import Heard, Listener, WireParser, encode_headers, encode_message
from libs.runtime.failures import Retryable

_SWEEP_SECONDS = 0.1
_PENDING_BYTES = 512 * 1024 * 1024
_UNWRITTEN_BYTES = 4 * 1024 * 1024
"""More than this is not written to a server that reads too slowly: who has more to say waits."""

_WRITE_SECONDS = 2.0

log = structlog.get_logger()


class Unavailable(Retryable):
    """The log cannot be reached or did not answer in time; whether a write was stored is not known."""

    def __init__(self, message: str = "the event log cannot be reached") -> None:
        super().__init__("unavailable", message, after=1.0)


class _Waiting(msgspec.Struct, gc=False):
    future: asyncio.Future[Heard]
    deadline: float
    rest: list[Heard] | None
    """What came before the last one, where many are asked for."""


class Broker:
    """One NATS connection and its inbox. Made by `connect`."""

    def __init__(self, client: Client, parser: WireParser, transport: WireTransport, inbox: str) -> None:
        self.client = client
        self._parser = parser
        self._transport = transport
        self.replicated = False
        """Whether streams have replicas, of which one may be behind (`topology.converge` finds out)."""
        self._inbox = inbox
        self._waiting: dict[str, _Waiting] = {}
        self._numbers = itertools.count()
        self._on_reconnect: list[Callable[[], None]] = []
        self._told = True
        """Whether those who asked to know of the last reconnect have been called."""

    @property
    def connected(self) -> bool:
        """Whether all that is said is heard here: a server is there, and who asked to know of a reconnect does.

        nats-py's client calls itself connected a round trip earlier, when subscriptions are not yet made again.
        """
        return self._told and self.client.is_connected

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
        self._parser.listeners.pop(subscription._id, None)

    async def drain(self, subscription: Subscription) -> None:
        """Stop listening, after what the server has already sent was handled."""
        if self.client.is_connected:
            with suppress(nats.errors.Error, TimeoutError):
                async with asyncio.timeout(1.0):
                    await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py leaves it untyped
                    self._parser.listeners.pop(subscription._id, None)
                    return
            # A drain that was cut off leaves the subscription's task and its place in the client behind.
            subscription._closed = False
        await self.unsubscribe(subscription)

    def send(self, subject: str, payload: bytes = b"", reply: str = "", head: bytes = b"") -> None:
        """Send on core NATS, at once and without waiting, to whoever listens now; `Unavailable` while disconnected.

        For what is small and answers what was heard. `head` is what `encode_headers` made.
        """
        client = self.client
        if not client.is_connected:
            raise Unavailable
        if len(head) + len(payload) > client.max_payload:
            raise nats.errors.MaxPayloadError
        frame = encode_message(subject, payload, reply, head)
        client.stats["out_msgs"] += 1
        if client._pending:
            # What the client is about to send, a subscription for instance, goes first.
            client._pending.append(frame)
            client._pending_data_size += len(frame)
        else:
            self._transport.gather(frame)

    async def publish(self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """The same, for anything; it waits while much is unwritten."""
        if self._transport.unwritten > _UNWRITTEN_BYTES:
            await self._written()
        self.send(subject, payload, head=encode_headers(headers) if headers else b"")

    async def publish_with_reply(self, subject: str, payload: bytes, reply: str) -> None:
        """Send and have the answers go to `reply`."""
        self.send(subject, payload, reply)

    async def subscribe(self, subject: str, call: Callable[[Msg], Awaitable[None]], queue: str = "") -> Subscription:
        """Have `call` called for each message on a core NATS subject, one after the other."""
        return await self.client.subscribe(subject, queue=queue, cb=call, pending_bytes_limit=_PENDING_BYTES)

    async def hear(self, subject: str, listener: Listener) -> Subscription:
        """Have `listener` called with each message as it is read: for what is heard often and handled at once."""
        number = self.client._sid + 1
        self._parser.listeners[number] = listener
        subscription = await self.client.subscribe(subject)
        if subscription._id != number:
            raise RuntimeError("the client numbers its subscriptions otherwise")
        return subscription

    @asynccontextmanager
    async def listen(self, subject: str, pending: int) -> AsyncIterator[asyncio.Queue[Heard | None]]:
        """A queue of what is heard on `subject`, from before the server sees any later request of ours.

        None in it means that something may have been missed: the connection was renewed, or more than `pending`
        messages were waiting.
        """
        queue: asyncio.Queue[Heard | None] = asyncio.Queue()

        def missed() -> None:
            if queue.qsize() <= pending:
                queue.put_nowait(None)

        def heard(message: Heard) -> None:
            if queue.qsize() < pending:
                queue.put_nowait(message)
            else:
                missed()

        subscription = await self.hear(subject, heard)
        self.on_reconnect(missed)
        try:
            yield queue
        finally:
            self.forget_reconnect(missed)
            await self.unsubscribe(subscription)

    async def request(
        self, subject: str, payload: bytes = b"", headers: dict[str, str] | None = None, timeout: float = 2.0
    ) -> Heard:
        """One answer. `Unavailable` after `timeout` seconds or when nobody listens."""
        answer = await self.ask(subject, payload, encode_headers(headers) if headers else b"", timeout)
        if answer.has_status and not answer.data and answer.headers["Status"] == "503":
            raise Unavailable
        return answer

    async def ask(self, subject: str, payload: bytes, head: bytes, timeout: float) -> Heard:
        """The same with encoded headers; "nobody listens" is an answer too, without data."""
        return await self._ask(subject, payload, head, timeout, None)

    async def request_many(self, subject: str, payload: bytes, timeout: float = 5.0) -> list[Heard]:
        """The answers up to and with the first that has a `Status` header (batched direct get)."""
        answers: list[Heard] = []
        answers.append(await self._ask(subject, payload, b"", timeout, answers))
        return answers

    async def _ask(self, subject: str, payload: bytes, head: bytes, timeout: float, rest: list[Heard] | None) -> Heard:
        loop = asyncio.get_running_loop()
        token = str(next(self._numbers))
        waiting = _Waiting(loop.create_future(), loop.time() + timeout, rest)
        self._waiting[token] = waiting
        try:
            if self._transport.unwritten > _UNWRITTEN_BYTES:
                await self._written()
            self.send(subject, payload, f"{self._inbox}.{token}", head)
            return await waiting.future
        finally:
            self._waiting.pop(token, None)

    async def _written(self) -> None:
        """Wait until the server has read what was said before."""
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await self._transport.drain()  # type: ignore[no-untyped-call]  # nats-py leaves it untyped
        except (TimeoutError, OSError):
            raise Unavailable("the event log does not read what is sent to it") from None

    def on_answer(self, message: Heard) -> None:
        """The inbox's listener."""
        waiting = self._waiting.get(message.subject.rpartition(".")[2])
        if waiting is None or waiting.future.done():
            return
        if waiting.rest is None or message.has_status:
            waiting.future.set_result(message)
        else:
            waiting.rest.append(message)

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
        self._told = False
        for waiting in self._waiting.values():
            if not waiting.future.done():
                waiting.future.set_exception(Unavailable("the connection to the event log was lost"))

    def reconnected(self) -> None:
        """Tell those who asked to know."""
        for call in self._on_reconnect:
            call()
        self._told = True


@asynccontextmanager
async def connect(urls: str, name: str, on_lost: Callable[[], None], access: Access = ANYBODY) -> AsyncIterator[Broker]:
    """A connection to one of the servers (`urls`, separated by commas) that waits for it and reconnects for ever.

    `on_lost` is called when the client gives up all the same: the process is of no more use then. ValueError where
    `access` holds no keys.
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
        CONNECTED.set(0)
        broker.disconnected()

    async def reconnected() -> None:
        CONNECTED.set(1)
        RECONNECTS.inc()
        log.info("broker connection restored")
        broker.reconnected()

    client = Client()
    key, tls = access.key(), access.tls()
    client._ps = parser = WireParser(client)
    client._transport = transport = WireTransport(parser, encrypted=tls is not None)
    client._public_nkey = None if key is None else key.public
    inbox = f"{access.inboxes}.{name}.{secrets.token_hex(6)}"
    broker = Broker(client, parser, transport, inbox)
    await client.connect(
        urls.split(","),
        name=name,
        tls=tls,
        signature_cb=None if key is None else key.sign,
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
    CONNECTED.set(1)
    await broker.hear(f"{inbox}.*", broker.on_answer)
    sweeper = asyncio.create_task(broker.sweep())
    try:
        yield broker
    finally:
        leaving = True
        await client.close()
        sweeper.cancel()
