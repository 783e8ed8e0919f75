"""A process's connection to the made-up server, with the calls of `libs.events.broker.Broker`."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from nats.aio.msg import Msg

from libs.events.broker import Unavailable
from libs.events.wire import Heard, Listener, encode_headers
from tests.simulation.jetstream import Headers
from tests.simulation.loop import Process
from tests.simulation.server import PING, Connection, Interest, Server

Call = Callable[[Msg], Awaitable[None]]


class Subscribed:
    """One subscription: a listener that is called at once, or messages that are handled one after the other."""

    def __init__(self) -> None:
        self.interest: Interest | None = None
        self.queue: asyncio.Queue[Heard] = asyncio.Queue()
        self.handling: asyncio.Task[None] | None = None
        self.closed = False

    def close(self) -> None:
        self.closed = True
        if self.handling is not None:
            self.handling.cancel()

    async def handle(self, call: Call, defects: list[str]) -> None:
        """Hand on what is in the queue, as nats-py does."""
        while True:
            heard = await self.queue.get()
            message = Msg(
                _client=None,  # type: ignore[arg-type]  # nobody answers by it
                subject=heard.subject,
                reply=heard.reply,
                data=heard.data,
                headers=heard.headers or None,
            )
            try:
                await call(message)
            except Exception as error:  # noqa: BLE001  # nats-py logs it and goes on: here it is a finding
                defects.append(f"a subscriber raised {type(error).__name__}: {error}")
            self.queue.task_done()


class Wire:
    """What stands for a `Broker`."""

    max_payload = 8 * 1024 * 1024 + 4096
    replicated = False

    def __init__(self, server: Server, process: Process) -> None:
        self.connection = Connection(server, process)
        self._server = server
        self._process = process
        self._inbox = f"_INBOX.{process.name}"
        self._numbers = itertools.count()
        self._waiting: dict[str, tuple[asyncio.Future[Heard], list[Heard] | None]] = {}
        self._subscriptions: list[Subscribed] = []
        self._on_reconnect: list[Callable[[], None]] = []
        self.on_append: Callable[[], None] | None = None
        """Called once, after the next append to `watched` was sent: the moment at which most can go wrong."""
        self.watched: tuple[str, ...] = ()
        self._answers = Interest(f"{self._inbox}.*", self.connection, self._on_answer)
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

    def send(self, subject: str, payload: bytes = b"", reply: str = "", head: bytes = b"") -> None:
        if not self.connection.open:
            raise Unavailable
        headers = Heard("", "", b"", head).headers if head else None
        connection, server = self.connection, self._server
        server.network.take(connection, lambda: server.receive(connection, subject, payload, headers, reply))
        if self.on_append is not None and subject.startswith(self.watched):
            told, self.on_append = self.on_append, None
            told()

    async def publish(self, subject: str, payload: bytes = b"", headers: Headers | None = None) -> None:
        self.send(subject, payload, head=encode_headers(headers) if headers else b"")

    async def publish_with_reply(self, subject: str, payload: bytes, reply: str) -> None:
        self.send(subject, payload, reply)

    async def request(
        self, subject: str, payload: bytes = b"", headers: Headers | None = None, timeout: float = 2.0
    ) -> Heard:
        answer = await self.ask(subject, payload, encode_headers(headers) if headers else b"", timeout)
        if answer.has_status and not answer.data and answer.headers["Status"] == "503":
            raise Unavailable
        return answer

    async def ask(self, subject: str, payload: bytes, head: bytes, timeout: float) -> Heard:
        return await self._ask(subject, payload, head, timeout, None)

    async def request_many(self, subject: str, payload: bytes, timeout: float = 5.0) -> list[Heard]:
        answers: list[Heard] = []
        answers.append(await self._ask(subject, payload, b"", timeout, answers))
        return answers

    async def subscribe(self, subject: str, call: Call, queue: str = "") -> Subscribed:
        subscription = Subscribed()
        subscription.handling = self._process.start(subscription.handle(call, self._server.loop.defects))
        return self._subscribed(subscription, subject, subscription.queue.put_nowait)

    async def hear(self, subject: str, listener: Listener) -> Subscribed:
        return self._subscribed(Subscribed(), subject, listener)

    def _subscribed(self, subscription: Subscribed, subject: str, listener: Listener) -> Subscribed:
        subscription.interest = Interest(subject, self.connection, listener)
        self._subscriptions.append(subscription)
        if self.connection.open:
            self._tell(self._server.hear, subscription.interest)
        return subscription

    async def unsubscribe(self, subscription: Subscribed) -> None:
        if subscription.closed:
            return
        subscription.close()
        self._subscriptions.remove(subscription)
        if self.connection.open and subscription.interest is not None:
            self._tell(self._server.unhear, subscription.interest)

    async def drain(self, subscription: Subscribed) -> None:
        if self.connection.open and subscription.interest is not None:
            self._tell(self._server.unhear, subscription.interest)
            try:
                async with asyncio.timeout(1.0):
                    await self.request(PING)
                    await subscription.queue.join()
            except (Unavailable, TimeoutError):
                pass
        await self.unsubscribe(subscription)

    @asynccontextmanager
    async def listen(self, subject: str, pending: int) -> AsyncIterator[asyncio.Queue[Heard | None]]:
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

    # What happens to it

    def lose(self, seconds: float) -> None:
        """The connection breaks, and comes back after so long."""
        if not self.connection.open:
            return
        self._close()
        for future, _ in self._waiting.values():
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
            if subscription.interest is not None:
                self._tell(self._server.hear, subscription.interest)
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

    def _tell(self, call: Callable[[Interest], None], interest: Interest) -> None:
        life = self.connection.life

        def arrived() -> None:
            if self.connection.life == life:
                call(interest)

        self._server.network.take(self.connection, arrived, surely=True)

    async def _ask(self, subject: str, payload: bytes, head: bytes, timeout: float, rest: list[Heard] | None) -> Heard:
        loop = asyncio.get_running_loop()
        token = str(next(self._numbers))
        future: asyncio.Future[Heard] = loop.create_future()
        self.send(subject, payload, f"{self._inbox}.{token}", head)
        self._waiting[token] = (future, rest)
        timer = loop.call_later(timeout, _give_up, future)
        try:
            return await future
        finally:
            timer.cancel()
            del self._waiting[token]

    def _on_answer(self, message: Heard) -> None:
        future, rest = self._waiting.get(message.subject.rpartition(".")[2], (None, None))
        if future is None or future.done():
            return
        if rest is None or message.has_status:
            future.set_result(message)
        else:
            rest.append(message)


def _give_up(future: "asyncio.Future[Heard]") -> None:
    if not future.done():
        future.set_exception(Unavailable("the event log did not answer in time"))
