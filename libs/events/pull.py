"""Standing pulls: messages of a JetStream consumer as they come, never more than there is room for.

A pull asks the server for so many messages, which it sends as they appear until the pull's time is over. One pull
after the other is kept standing, and what was asked for is counted when deciding to ask: a burst then causes one
new pull and not one for each message. After a reconnect the server has forgotten all pulls; they are asked anew. It
may forget one without a word, too (another server leads now): so each pull has a heartbeat.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from libs.events.broker import Broker, Msg, Unavailable

_EXPIRES_SECONDS = 20.0
_HEARTBEAT_SECONDS = 2.0
_SILENCE_SECONDS = 3 * _HEARTBEAT_SECONDS
"""A pull of which nothing was heard for so long is forgotten."""

log = structlog.get_logger()


class Delivery(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message as a consumer delivers it, and where it stands."""

    subject: str
    payload: bytes
    sequence: int
    """Its sequence in its stream."""
    consumer_sequence: int
    """1, 2, 3 … over the deliveries of this consumer: a gap means that one was lost on the way."""
    attempt: int
    """1 on the first delivery."""
    pending: int
    """How many more the consumer had at that moment."""
    reply: str
    """Where acknowledgements go."""


def read_delivery(message: Msg) -> Delivery:
    """The message with what its acknowledgement subject tells (both forms that servers send)."""
    tokens = message.reply.split(".")
    # $JS.ACK.<stream>.<consumer>.<attempt>.<sequence>.<consumer sequence>.<time>.<pending>, and the second form with
    # a domain and an account hash before the stream, and perhaps a random token at the end.
    offset = 4 if len(tokens) == 9 else 6
    attempt, sequence, consumer_sequence, _, pending = map(int, tokens[offset : offset + 5])
    return Delivery(
        subject=message.subject,
        payload=message.data,
        sequence=sequence,
        consumer_sequence=consumer_sequence,
        attempt=attempt,
        pending=pending,
        reply=message.reply,
    )


class Lost(Exception):
    """The consumer is gone, or a delivery of it was lost: it has to be made again."""


class StandingPull:
    """Keeps pulls of one consumer standing and hands each message to `on_message`.

    `room()` says how many more messages may come now. `wake()` after room was made. `run()` lives until
    cancelled, and raises Lost when the server does not know the consumer.
    """

    def __init__(
        self,
        broker: Broker,
        stream: str,
        consumer: str,
        room: Callable[[], int],
        on_message: Callable[[Delivery], Awaitable[None]],
    ) -> None:
        self._broker = broker
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._room = room
        self._on_message = on_message
        self._wake = asyncio.Event()
        self._numbers = itertools.count()
        self._asked: dict[str, int] = {}
        self._deadlines: dict[str, float] = {}
        self._lost: str | None = None
        self.last_contact = asyncio.get_running_loop().time()

    def wake(self) -> None:
        """Look again whether there is room for a pull."""
        self._wake.set()

    def renew(self) -> None:
        """Forget what was asked: after a reconnect nobody remembers it."""
        self._asked.clear()
        self._deadlines.clear()
        self.wake()

    async def run(self) -> None:
        """Pull until cancelled; on leaving, what the server had already sent is still handed on."""
        inbox = self._broker.new_inbox()
        subscription = await self._broker.subscribe(f"{inbox}.*", self._heard)
        self._broker.on_reconnect(self.renew)
        try:
            while self._lost is None:
                self._wake.clear()
                await self._ask(inbox)
                try:
                    async with asyncio.timeout(1.0):
                        await self._wake.wait()
                except TimeoutError:
                    self._expire()
            raise Lost(self._lost)
        finally:
            self._broker.forget_reconnect(self.renew)
            await self._broker.drain(subscription)

    async def _ask(self, inbox: str) -> None:
        standing = sum(self._asked.values())
        room = self._room() - standing
        # One large pull at a time, renewed when half of it is used, is the cheapest for the server.
        if room <= 0 or (standing and standing >= room):
            return
        pull = str(next(self._numbers))
        body = {"batch": room, "expires": int(_EXPIRES_SECONDS * 1e9), "idle_heartbeat": int(_HEARTBEAT_SECONDS * 1e9)}
        self._asked[pull] = room
        self._deadlines[pull] = asyncio.get_running_loop().time() + _SILENCE_SECONDS
        try:
            await self._broker.publish_with_reply(self._subject, msgspec.json.encode(body), f"{inbox}.{pull}")
        except Unavailable:
            self._forget(pull)

    async def _heard(self, message: Msg) -> None:
        self.last_contact = asyncio.get_running_loop().time()
        pull = message.subject.rpartition(".")[2]
        if pull in self._deadlines:
            self._deadlines[pull] = self.last_contact + _SILENCE_SECONDS
        headers = message.headers or {}
        if "Status" in headers and not message.reply:
            self._on_status(pull, headers["Status"], headers.get("Description", ""))
            return
        if pull in self._asked:
            self._asked[pull] -= 1
            if self._asked[pull] <= 0:
                self._forget(pull)
                self.wake()
        await self._on_message(read_delivery(message))

    def _on_status(self, pull: str, status: str, description: str) -> None:
        if status == "100":
            return
        self._forget(pull)
        if status == "503" or (status == "409" and "Consumer Deleted" in description):
            self._lost = "nobody answers for the consumer" if status == "503" else description
        elif status != "408":
            # Asked again with the next look, a second from now: whatever it was, it is not cured at once.
            log.warning("a pull ended early", status=status, description=description)
            return
        self.wake()

    def _expire(self) -> None:
        now = asyncio.get_running_loop().time()
        for pull in [pull for pull, deadline in self._deadlines.items() if deadline < now]:
            self._forget(pull)

    def _forget(self, pull: str) -> None:
        self._asked.pop(pull, None)
        self._deadlines.pop(pull, None)
