"""Messages on the wire: read and handed on while their bytes are in hand.

nats-py stays what it is good at: it connects, authenticates, pings, reconnects and subscribes anew. But a message
through it is matched against regular expressions and waits in its subscription's queue for a task. Here a listener is
a plain function, called as soon as its message is there; whatever else the server says (INFO, PING, an error) goes the
client's own way.
"""

from collections.abc import Callable, Mapping

import msgspec
import structlog
from nats.aio.client import Client
from nats.errors import ProtocolError
from nats.protocol.parser import Parser

_LINE_BYTES = 64 * 1024
"""The longest line that may come; servers allow 4 KiB unless told otherwise, and INFO may be longer."""

_END = b"\r\n"
_VERSION = b"NATS/1.0"
_ONE_LINE = {10: " ", 13: " "}

log = structlog.get_logger()


class Heard(msgspec.Struct, frozen=True, gc=False):
    """A message as it was heard. `head` is the block of its headers as it came, empty without any."""

    subject: str
    reply: str
    data: bytes
    head: bytes = b""

    @property
    def headers(self) -> dict[str, str]:
        """The headers; the server's own answers may begin with a `Status` and a `Description`."""
        first, *lines = self.head.decode(errors="replace").split("\r\n")
        named = (line.partition(":") for line in lines if line)
        found = {name.strip(): value.strip() for name, _, value in named}
        status, _, description = first.removeprefix("NATS/1.0").strip().partition(" ")
        if status:
            found |= {"Status": status, "Description": description.strip()}
        return found

    @property
    def has_status(self) -> bool:
        """Whether this is the server's own word, such as "no messages", and not somebody's message."""
        return len(self.head) > len(_VERSION) and not self.head.startswith(_END, len(_VERSION))


Listener = Callable[[Heard], None]
"""Called with each message, in the order they came; what takes time it begins elsewhere."""


def encode_headers(headers: Mapping[str, str]) -> bytes:
    """A block of headers as it goes over the wire. A line's end in a value becomes a space."""
    lines = "".join([f"{name}: {value.translate(_ONE_LINE)}\r\n" for name, value in headers.items()])
    return f"NATS/1.0\r\n{lines}\r\n".encode()


def encode_message(subject: str, payload: bytes, reply: str = "", head: bytes = b"") -> bytes:
    """A message as it goes over the wire."""
    target = f"{subject} {reply}" if reply else subject
    if head:
        size = len(head)
        return b"%b%b%b\r\n" % (f"HPUB {target} {size} {size + len(payload)}\r\n".encode(), head, payload)
    return b"%b%b\r\n" % (f"PUB {target} {len(payload)}\r\n".encode(), payload)


class WireParser(Parser):
    """Takes messages apart and calls their subscriptions' listeners; any other line it leaves to the client."""

    def __init__(self, client: Client) -> None:
        self.listeners: dict[int, Listener] = {}
        """By the number of the subscription. A subscription without one is served by the client."""
        self._held = bytearray()
        self._wanted = 0
        super().__init__(client)

    def reset(self) -> None:
        """A new connection begins."""
        super().reset()
        self._held.clear()
        self._wanted = 0

    async def parse(self, data: bytes = b"") -> None:
        """Take in what came, whatever it is."""
        rest = self.feed(data)
        while rest:
            line, end, further = rest.partition(_END)
            if not end:
                self._hold(rest, 0)
                return
            if line.startswith((b"MSG", b"HMSG")):
                rest = await self._pass_on(rest)
                continue
            await super().parse(line + end)
            rest = self.feed(further)

    def feed(self, data: bytes) -> bytes:
        """Take in messages up to the first line that is the client's to read; answers what begins there."""
        try:
            return self._take(data)
        except (ValueError, IndexError):
            raise ProtocolError from None

    def _take(self, data: bytes) -> bytes:
        if self._held:
            self._held += data
            if len(self._held) < self._wanted:
                return b""
            data = bytes(self._held)
            self._held.clear()
        at, end = 0, len(data)
        while at < end:
            line_end = data.find(_END, at)
            if line_end < 0 or data[at] not in b"MH":
                break
            fields = data[at:line_end].split()
            if len(fields) < 4:
                raise ProtocolError
            listener = self.listeners.get(int(fields[2]))
            if listener is None:
                return data[at:]
            body = line_end + 2
            stop = body + int(fields[-1])
            if stop + 2 > end:
                self._hold(data[at:], stop + 2 - at)
                return b""
            at = stop + 2
            self._call(listener, _heard(fields, data, body, stop))
        rest = data[at:]
        if rest and rest[0] in b"MH" and _END not in rest:
            self._hold(rest, 0)
            return b""
        return rest

    async def _pass_on(self, data: bytes) -> bytes:
        """Give one message to the client's own subscription; answers what follows it."""
        line, _, _ = data.partition(_END)
        fields = line.split()
        body = len(line) + 2
        stop = body + int(fields[-1])
        if stop + 2 > len(data):
            self._hold(data, stop + 2)
            return b""
        heard = _heard(fields, data, body, stop)
        await self.nc._process_msg(int(fields[2]), fields[1], heard.reply.encode(), heard.data, heard.head or None)
        return self.feed(data[stop + 2 :])

    def _hold(self, data: bytes, wanted: int) -> None:
        """Keep what is not whole until `wanted` bytes are there; 0: until a line is."""
        if not wanted and len(data) > _LINE_BYTES:
            raise ProtocolError
        self._held += data
        self._wanted = wanted

    def _call(self, listener: Listener, heard: Heard) -> None:
        try:
            listener(heard)
        except Exception:  # one listener's defect must not silence all the others
            log.exception("a message could not be handled", subject=heard.subject)


def _heard(fields: list[bytes], data: bytes, body: int, stop: int) -> Heard:
    """`MSG subject sid [reply] size`, or `HMSG subject sid [reply] head-size size`."""
    if fields[0] == b"MSG":
        reply = fields[3] if len(fields) == 5 else b""
        return Heard(fields[1].decode(), reply.decode(), data[body:stop])
    reply = fields[3] if len(fields) == 6 else b""
    head = body + int(fields[-2])
    return Heard(fields[1].decode(), reply.decode(), data[head:stop], data[body:head])
