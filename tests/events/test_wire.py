"""The connection's hot path: messages come whole and in order however the network cuts them, the rest is the client's.

The server here is a socket that speaks as much of the protocol as a test needs, so that it decides where bytes are cut.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from libs.events.broker import Broker, Msg, connect
from libs.events.pull import StandingPull
from libs.events.wire import Heard, encode_headers, encode_message
from tests.events.waiting import until_true

_INFO = b'INFO {"server_id":"x","version":"2.15.0","headers":true,"max_payload":1048576}\r\n'


class Server:
    """One connection's server: what it was told, and a socket to say anything on."""

    def __init__(self) -> None:
        self.told = b""
        self.writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Greet, answer each PING, remember everything."""
        self.writer = writer
        writer.write(_INFO)
        with suppress(ConnectionError):
            while part := await reader.read(65536):
                self.told += part
                for _ in range(part.count(b"PING\r\n")):
                    writer.write(b"PONG\r\n")
        writer.close()

    async def say(self, data: bytes, *cuts: int) -> None:
        """Send `data` in parts, each of which the client reads before the next is sent."""
        assert self.writer is not None
        for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
            self.writer.write(data[start:end])
            await self.writer.drain()
            await asyncio.sleep(0)


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Server, Broker]]:
    server = Server()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with connect(f"nats://127.0.0.1:{port}", "test", lambda: None) as broker:
            yield server, broker


def spoken(subject: str, sid: int, data: bytes, reply: str = "", head: bytes = b"") -> bytes:
    """A message as a server sends it."""
    address = f"{subject} {sid} {reply} " if reply else f"{subject} {sid} "
    if head:
        return f"HMSG {address}{len(head)} {len(head) + len(data)}\r\n".encode() + head + data + b"\r\n"
    return f"MSG {address}{len(data)}\r\n".encode() + data + b"\r\n"


STATUS = b"NATS/1.0 404 No Messages\r\n\r\n"
BATCH = [
    ("a.b", "", b"plain", b""),
    ("a.b", "to.me", b"", b""),
    ("a.c", "to.me", b"with\r\nMSG a.b 2 3\r\nlines", encode_headers({"Nats-Sequence": "7", "X": "y:z"})),
    ("a.b", "", b"", STATUS),
    ("a.d", "", bytes(range(256)) * 8, b""),
]


async def test_messages_come_whole_wherever_the_network_cuts_them() -> None:
    chance = random.Random(7)
    async with served() as (server, broker):
        heard: list[Heard] = []
        subscription = await broker.hear("a.*", heard.append)
        data = b"".join(spoken(s, subscription._id, d, r, h) + b"PING\r\n" for s, r, d, h in BATCH)

        for cut in range(1, len(data) - 2048):
            await server.say(data, cut)
        for _ in range(50):
            await server.say(data, *sorted(chance.sample(range(1, len(data)), 5)))

        rounds = len(data) - 2049 + 50
        await until_true(lambda: len(heard) == len(BATCH) * rounds and server.told.count(b"PONG\r\n") >= 5 * rounds)
        wanted = [Heard(s, r, d, h) for s, r, d, h in BATCH]
        assert all(heard[at : at + 5] == wanted for at in range(0, len(heard), 5))


async def test_other_subscriptions_are_served_by_the_client() -> None:
    async with served() as (server, broker):
        heard: list[bytes] = []
        told: list[tuple[bytes, dict[str, str] | None]] = []

        async def tell(message: Msg) -> None:
            told.append((message.data, message.headers))

        fast = await broker.hear("fast", lambda message: heard.append(message.data))
        slow = await broker.subscribe("slow", tell)
        head = encode_headers({"A": "b"})
        data = b"".join(
            spoken("fast", fast._id, b"f%d" % n) + spoken("slow", slow._id, b"s%d" % n, head=head) for n in range(9)
        )

        for cut in range(1, len(data)):
            await server.say(data, cut)

        await until_true(lambda: len(told) == 9 * (len(data) - 1) == len(heard))
        assert heard[:9] == [b"f%d" % n for n in range(9)]
        assert told[:9] == [(b"s%d" % n, {"A": "b"}) for n in range(9)]


async def test_a_listener_that_fails_does_not_silence_the_others() -> None:
    def fail(_: Heard) -> None:
        raise RuntimeError("a defect")

    async with served() as (server, broker):
        heard: list[Heard] = []
        broken, sound = await broker.hear("broken", fail), await broker.hear("sound", heard.append)
        await server.say(spoken("broken", broken._id, b"x") + spoken("sound", sound._id, b"y"))

        await until_true(lambda: bool(heard))


@pytest.mark.parametrize(
    "line", [b"MSG what 1\r\n", b"MSG a b c\r\n", b"HMSG a 1 x 9\r\n123456789\r\n", b"M" * 200_000]
)
async def test_what_is_no_message_ends_the_connection_and_a_new_one_is_made(line: bytes) -> None:
    async with served() as (server, broker):
        heard: list[Heard] = []
        subscription = await broker.hear("a", heard.append)
        first = server.writer
        await server.say(line)

        await until_true(lambda: server.writer is not first and broker.connected)
        await server.say(spoken("a", subscription._id, b"still heard"))
        await until_true(lambda: bool(heard))


async def test_what_is_said_leaves_in_order_also_when_much_is_said() -> None:
    async with served() as (server, broker):
        for number in range(500):
            broker.send("said", b"%d" % number)
            if number % 10 == 0:
                await asyncio.sleep(0)
        await broker.hear("later", lambda _: None)
        broker.send("said", b"last")

        await until_true(lambda: b"last\r\n" in server.told)
        said = [encode_message("said", b"%d" % number) for number in range(500)]
        assert b"".join(said) in server.told
        assert server.told.index(b"SUB later") < server.told.index(b"PUB said 4\r\nlast\r\n")


async def test_what_was_said_before_the_end_is_sent() -> None:
    async with served() as (server, broker):
        for number in range(50):
            broker.send("said", b"%d" % number)
    await until_true(lambda: encode_message("said", b"49") in server.told)


@pytest.mark.parametrize("status", [b"408 Request Timeout", b"409 Batch Completed"])
async def test_a_pull_that_is_over_is_followed_by_another_at_once(status: bytes) -> None:
    """Waiting for the next look, a second away, would leave a busy consumer without messages."""
    async with served() as (server, broker):
        pull = StandingPull(broker, "S", "C", lambda: 10, lambda _: None)
        running = asyncio.create_task(pull.run())
        asked = b"PUB $JS.API.CONSUMER.MSG.NEXT.S.C "
        await until_true(lambda: server.told.count(asked) == 1)
        inbox = server.told.partition(asked)[2].split()[0].decode()
        number = broker.client._sid

        began = asyncio.get_running_loop().time()
        await server.say(spoken(inbox, number, b"", head=b"NATS/1.0 " + status + b"\r\n\r\n"))
        await until_true(lambda: server.told.count(asked) == 2)
        assert asyncio.get_running_loop().time() - began < 0.5
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_headers_are_read_as_the_client_reads_them() -> None:
    head = encode_headers({"Nats-Sequence": "7", "Reason": "two\r\nlines: here"})

    assert Heard("a", "", b"", head).headers == {"Nats-Sequence": "7", "Reason": "two  lines: here"}
    assert not Heard("a", "", b"", head).has_status
    assert Heard("a", "", b"", STATUS).headers == {"Status": "404", "Description": "No Messages"}
    assert Heard("a", "", b"", b"NATS/1.0 503\r\n\r\n").headers == {"Status": "503", "Description": ""}
    beat = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 12\r\n\r\n"
    assert Heard("a", "", b"", beat).headers["Nats-Last-Consumer"] == "12"
    assert Heard("a", "", b"").headers == {}
