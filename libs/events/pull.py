"""Standing pulls: messages of a JetStream consumer as they come, never more than there is room for.

A pull asks the server for so many messages, which it sends as they appear until the pull's time is over. One pull
after the other is kept standing, and what was asked for is counted when deciding to ask: a burst then causes one
new pull and not one for each message. After a reconnect the server has forgotten all pulls; they are asked anew. It
may forget one without a word, too (another server leads now): so pulls have heartbeats.
"""

import asyncio
from collections.abc import Callable

import msgspec
import structlog

from libs.events.broker import Broker, Msg, Unavailable
from libs.events.wire import Heard

_EXPIRES_SECONDS = 20.0
_MAX_BYTES = 64 * 1024 * 1024
"""What one pull brings at most, however many messages it asks for; more than one message may be (32 MiB)."""

_HEARTBEAT_SECONDS = 1.0
_SILENCE_SECONDS = 3 * _HEARTBEAT_SECONDS
"""After so long without a word the server has forgotten the pulls."""

_LOOK_SECONDS = 1.0

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
    stored_ns: int = 0
    """When the log stored it, by the server's clock: nanoseconds since the epoch."""


def read_delivery(message: Heard | Msg) -> Delivery:
    """The message with what its acknowledgement subject tells (both forms that servers send)."""
    tokens = message.reply.split(".")
    # $JS.ACK.<stream>.<consumer>.<attempt>.<sequence>.<consumer sequence>.<time>.<pending>, and the second form with
    # a domain and an account hash before the stream, and perhaps a random token at the end.
    offset = 4 if len(tokens) == 9 else 6
    attempt, sequence, consumer_sequence, stored_ns, pending = map(int, tokens[offset : offset + 5])
    return Delivery(
        subject=message.subject,
        payload=message.data,
        sequence=sequence,
        consumer_sequence=consumer_sequence,
        attempt=attempt,
        pending=pending,
        reply=message.reply,
        stored_ns=stored_ns,
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
        on_message: Callable[[Delivery], None],
    ) -> None:
        self._broker = broker
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._room = room
        self._on_message = on_message
        self._wake = asyncio.Event()
        self._standing = 0
        self._pulls = 0
        self._lost: str | None = None
        self._quiet_since = asyncio.get_running_loop().time()

    def wake(self) -> None:
        """Look again whether there is room for a pull."""
        if self._lacking():
            self._wake.set()

    def renew(self) -> None:
        """Forget what was asked: after a reconnect nobody remembers it."""
        self._standing = 0
        self._wake.set()

    async def run(self) -> None:
        """Pull until cancelled; on leaving, what the server had already sent is still handed on."""
        inbox = self._broker.new_inbox()
        subscription = await self._broker.hear(f"{inbox}.*", self._heard)
        self._broker.on_reconnect(self.renew)
        try:
            while self._lost is None:
                self._wake.clear()
                await self._ask(inbox)
                try:
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._wake.wait()
                except TimeoutError:
                    if asyncio.get_running_loop().time() - self._quiet_since > _SILENCE_SECONDS:
                        self._standing = 0
            raise Lost(self._lost)
        finally:
            self._broker.forget_reconnect(self.renew)
            await self._broker.drain(subscription)

    def _lacking(self) -> int:
        """How many to ask for now. One large pull, renewed when half of it is used, is the cheapest for the server."""
        lacking = self._room() - self._standing
        return lacking if lacking > self._standing else 0

    async def _ask(self, inbox: str) -> None:
        lacking = self._lacking()
        if not lacking:
            return
        body = {
            "batch": lacking,
            "max_bytes": _MAX_BYTES,
            "expires": int(_EXPIRES_SECONDS * 1e9),
            "idle_heartbeat": int(_HEARTBEAT_SECONDS * 1e9),
        }
        try:
            await self._broker.publish_with_reply(
                self._subject, msgspec.json.encode(body), f"{inbox}.{self._pulls + 1}"
            )
        except Unavailable:
            return
        self._pulls += 1
        self._standing += lacking
        self._quiet_since = asyncio.get_running_loop().time()

    def _heard(self, message: Heard) -> None:
        self._quiet_since = asyncio.get_running_loop().time()
        if not message.reply and message.has_status:
            self._on_status(int(message.subject.rpartition(".")[2]), message.headers)
            return
        # Which pull a message answers it does not tell: so their sum is counted.
        self._standing = max(0, self._standing - 1)
        self._on_message(read_delivery(message))
        self.wake()

    def _on_status(self, pull: int, headers: dict[str, str]) -> None:
        status, description = headers["Status"], headers.get("Description", "")
        if status == "100":
            return
        if status == "503":
            self._give_up("nobody answers for the consumer")
            return
        # The newest pull is over: so are all before it, whatever was counted.
        unanswered = int(headers.get("Nats-Pending-Messages", "0"))
        self._standing = 0 if pull == self._pulls else max(0, self._standing - unanswered)
        if status == "408" or "MaxBytes" in description or description == "Batch Completed":
            self.wake()
        else:
            # Asked again with the next look: whatever it was, it is not cured at once.
            log.warning("a pull ended early", status=status, description=description)

    def _give_up(self, reason: str) -> None:
        self._lost = reason
        self._wake.set()
