"""A process's connection to the made-up server, with the calls of `libs.events.broker.Broker`."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from nats.aio.msg import Msg

from libs.events.broker import Unavailable
from tests.simulation.jetstream import Headers
from tests.simulation.loop import Process
from tests.simulation.server import PING, Connection, Heard, Server

Call = Callable[[Msg], Awaitable[None]]


class Subscribed:
    """One subscription: its messages are handled one after the other, as nats-py does."""

    def __init__(self, process: Process, call: Call, defects: list[str]) -> None:
        self.heard: Heard | None = None
        self.queue: asyncio.Queue[Msg] = asyncio.Queue()
        self.closed = False
        self._call = call
        self._defects = defects
        self._handling = process.start(self._handle())

    def close(self) -> None:
        self.closed = True
        self._handling.cancel()

    async def _handle(self) -> None:
        while True:
            message = await self.queue.get()
            try:
                await self._call(message)
            except Exception as error:  # noqa: BLE001  # nats-py logs it and goes on: here it is a finding
                self._defects.append(f"a subscriber raised {type(error).__name__}: {error}")
            self.queue.task_done()


class Wire:
    """What stands for a `Broker`."""

    max_payload = 8 * 1024 * 1024 + 4096

    def __init__(self, server: Server, process: Process) -> None:
        self.connection = Connection(server, process)
        self._server = server
        self._process = process
        self._inbox = f"_INBOX.{process.name}"
        self._numbers = itertools.count()
        self._waiting: dict[str, tuple[asyncio.Future[list[Msg]], list[Msg], bool]] = {}
        self._subscriptions: list[Subscribed] = []
        self._on_reconnect: list[Callable[[], None]] = []
        self.on_append: Callable[[], None] | None = None
        """Called once, after the next append to `watched` was sent: the moment at which most can go wrong."""
        self.watched: tuple[str, ...] = ()
        self._answers = Heard(f"{self._inbox}.*", self.connection, self._on_answer)
        self._dead = False
        server.connections.append(self.connection)
        process.on_death.append(self._die)
        self._open()

    @property
    def connected(self) -> bool:
        return self.connection.open

    def on_reconnect(self, call: Callable[[], None]) -> None:
        self._on_reconnect.append(call)

    def forget_reconnect(self, call: Callable[[], None]) -> None:
        self._on_reconnect.remove(call)

    def new_inbox(self) -> str:
        return f"{self._inbox}-{next(self._numbers)}"

    async def publish(self, subject: str, payload: bytes = b"", headers: Headers | None = None) -> None:
        self._send(subject, payload, headers, "")

    async def publish_with_reply(self, subject: str, payload: bytes, reply: str) -> None:
        self._send(subject, payload, None, reply)

    async def request(
        self, subject: str, payload: bytes = b"", headers: Headers | None = None, timeout: float = 2.0
    ) -> Msg:
        (answer,) = await self._ask(subject, payload, headers, timeout, many=False)
        if not answer.data and answer.headers and answer.headers.get("Status") == "503":
            raise Unavailable
        return answer

    async def request_many(self, subject: str, payload: bytes, timeout: float = 5.0) -> list[Msg]:
        return await self._ask(subject, payload, None, timeout, many=True)

    async def subscribe(self, subject: str, call: Call, queue: str = "") -> Subscribed:
        subscription = Subscribed(self._process, call, self._server.loop.defects)
        subscription.heard = Heard(subject, self.connection, subscription.queue.put_nowait, queue)
        self._subscriptions.append(subscription)
        if self.connection.open:
            self._tell(self._server.hear, subscription.heard)
        return subscription

    async def unsubscribe(self, subscription: Subscribed) -> None:
        if subscription.closed:
            return
        subscription.close()
        self._subscriptions.remove(subscription)
        if self.connection.open and subscription.heard is not None:
            self._tell(self._server.unhear, subscription.heard)

    async def drain(self, subscription: Subscribed) -> None:
        if self.connection.open and subscription.heard is not None:
            self._tell(self._server.unhear, subscription.heard)
            try:
                async with asyncio.timeout(1.0):
                    await self.request(PING)
                    await subscription.queue.join()
            except (Unavailable, TimeoutError):
                pass
        await self.unsubscribe(subscription)

    @asynccontextmanager
    async def listen(self, subject: str, pending: int) -> AsyncIterator[asyncio.Queue[Msg | None]]:
        queue: asyncio.Queue[Msg | None] = asyncio.Queue()

        def missed() -> None:
            if queue.qsize() <= pending:
                queue.put_nowait(None)

        async def heard(message: Msg) -> None:
            if queue.qsize() < pending:
                queue.put_nowait(message)
            else:
                missed()

        subscription = await self.subscribe(subject, heard)
        self.on_reconnect(missed)
        try:
            yield queue
        finally:
            self.forget_reconnect(missed)
            await self.unsubscribe(subscription)

    # What happens to it

    def lose(self, seconds: float) -> None:
        """The connection breaks, and comes back after so long."""
        if not self.connection.open:
            return
        self._close()
        for future, _, _ in self._waiting.values():
            if not future.done():
                future.set_exception(Unavailable("the connection to the event log was lost"))
        self._process.call_at(self._server.loop.time() + seconds, self._reconnect)

    def _reconnect(self) -> None:
        if self.connection.open or self._dead:
            return
        if not self._server.up:
            self._process.call_at(self._server.loop.time() + 0.2, self._reconnect)
            return
        self._open()
        for subscription in self._subscriptions:
            if subscription.heard is not None:
                self._tell(self._server.hear, subscription.heard)
        for call in list(self._on_reconnect):
            call()

    def _open(self) -> None:
        self.connection.life += 1
        self.connection.open = True
        self._tell(self._server.hear, self._answers)

    def _close(self) -> None:
        self.connection.open = False
        self.connection.life += 1
        self._server.closed(self.connection)

    def _die(self) -> None:
        self._dead = True
        self._close()
        self._server.connections.remove(self.connection)

    def _tell(self, call: Callable[[Heard], None], heard: Heard) -> None:
        life = self.connection.life

        def arrived() -> None:
            if self.connection.life == life:
                call(heard)

        self._server.network.take(self.connection, arrived, surely=True)

    def _send(self, subject: str, payload: bytes, headers: Headers | None, reply: str) -> None:
        if not self.connection.open:
            raise Unavailable
        connection, server = self.connection, self._server
        server.network.take(connection, lambda: server.receive(connection, subject, payload, headers, reply))
        if self.on_append is not None and subject.startswith(self.watched):
            told, self.on_append = self.on_append, None
            told()

    async def _ask(
        self, subject: str, payload: bytes, headers: Headers | None, timeout: float, *, many: bool
    ) -> list[Msg]:
        loop = asyncio.get_running_loop()
        token = str(next(self._numbers))
        future: asyncio.Future[list[Msg]] = loop.create_future()
        self._send(subject, payload, headers, f"{self._inbox}.{token}")
        self._waiting[token] = (future, [], many)
        timer = loop.call_later(timeout, self._give_up, future)
        try:
            return await future
        finally:
            timer.cancel()
            del self._waiting[token]

    def _give_up(self, future: "asyncio.Future[list[Msg]]") -> None:
        if not future.done():
            future.set_exception(Unavailable("the event log did not answer in time"))

    def _on_answer(self, message: Msg) -> None:
        # The server tells an answer's subject; deliveries show another one, but they do not come here.
        future, messages, many = self._waiting.get(message.subject.rpartition(".")[2], (None, [], False))
        if future is None or future.done():
            return
        messages.append(message)
        if not many or (message.headers and "Status" in message.headers):
            future.set_result(messages)
