"""The floor: what accepting, working and answering durably costs with aiohttp and nats-py alone.

    python -m bench.floor http NATS_URL PORT     each POST is one append; answered when the worker answers
    python -m bench.floor worker NATS_URL        takes what was appended, appends the outcome, answers once it is stored

No keys, no validation, no flow, no compare-and-set, no projection: two subjects in one stream, one durable consumer.
It is no straw man: replies share one inbox per process and pulls are kept standing, both of which cost less than the
client library's own ways, and its appends are as large as those of the four-node flow.
"""

import asyncio
import itertools
import secrets
import signal
import sys

import nats
import uvloop
from aiohttp import web
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, StorageType, StreamConfig

ANSWER = b'{"status":"completed"}'.ljust(530)
"""As long as the product's answer."""

RECEIPT = b'{"status":"queued"}'.ljust(430)

_REQUESTED_BYTES = 360
_ENDED_BYTES = 1890
_STREAM = "FLOOR"
_WORKERS = "workers"
_REQUESTED = "floor.requested"
_ENDED = "floor.ended"
_SUBMITTED = "floor.submitted"
"""Which no worker takes."""

_TIMEOUT_SECONDS = 10.0
_STANDING = 256
"""Messages a worker has asked for ahead; as many as the product's executor takes at once."""

_PULL_SECONDS = 60


class Replies:
    """Futures for replies, told apart by the last token of one inbox."""

    def __init__(self) -> None:
        self._inbox = f"_INBOX.floor{secrets.token_hex(6)}"
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._numbers = itertools.count()

    async def listen(self, client: Client) -> None:
        """Begin to hear replies."""
        await client.subscribe(f"{self._inbox}.*", cb=self._heard)

    def expect(self) -> tuple[str, asyncio.Future[bytes]]:
        """A subject to be answered on, and its answer to be."""
        token = str(next(self._numbers))
        self._waiting[token] = future = asyncio.get_running_loop().create_future()
        return f"{self._inbox}.{token}", future

    async def _heard(self, message: Msg) -> None:
        future = self._waiting.pop(message.subject.rpartition(".")[2], None)
        if future is not None and not future.done():
            future.set_result(message.data)


async def append(client: Client, replies: Replies, subject: str, payload: bytes) -> None:
    """One append; returns when the server says that it is stored, RuntimeError when it refuses."""
    reply, acknowledged = replies.expect()
    await client.publish(subject, payload, reply=reply)
    if b'"error"' in (answer := await acknowledged):
        raise RuntimeError(answer.decode())


async def serve_http(client: Client, port: int) -> None:
    """The edge. It makes the stream and the consumer, for it is started first."""
    stream = StreamConfig(
        name=_STREAM,
        subjects=["floor.>"],
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        deny_delete=True,
        deny_purge=True,
    )
    consumer = ConsumerConfig(
        durable_name=_WORKERS, filter_subject=_REQUESTED, ack_policy=AckPolicy.EXPLICIT, max_ack_pending=100_000
    )
    await client.jetstream().add_stream(stream)
    await client.jetstream().add_consumer(_STREAM, consumer)
    replies = Replies()
    await replies.listen(client)

    async def run(request: web.Request) -> web.Response:
        body = await request.read()
        reply, answered = replies.expect()
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await append(client, replies, _REQUESTED, b"%b\n%b" % (reply.encode(), body.ljust(_REQUESTED_BYTES)))
            return web.Response(body=await answered, content_type="application/json")

    async def submit(request: web.Request) -> web.Response:
        body = await request.read()
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await append(client, replies, _SUBMITTED, body.ljust(_REQUESTED_BYTES))
        return web.Response(status=202, body=RECEIPT, content_type="application/json")

    app = web.Application()
    app.router.add_post("/runs", run)
    app.router.add_post("/submissions", submit)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()


async def work(client: Client) -> None:
    """The worker, with one pull standing that is renewed when half of it is used."""
    replies = Replies()
    await replies.listen(client)
    inbox = client.new_inbox()
    tasks: set[asyncio.Task[None]] = set()
    left = 0

    async def pull() -> None:
        nonlocal left
        wanted = _STANDING - left
        left = _STANDING
        body = b'{"batch":%d,"expires":%d}' % (wanted, _PULL_SECONDS * 1_000_000_000)
        await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{_STREAM}.{_WORKERS}", body, reply=inbox)

    async def take(message: Msg) -> None:
        nonlocal left
        if not message.reply:  # a status: the pull's time is over
            left = 0
        else:
            left -= 1
            task = asyncio.create_task(_handle(client, replies, message))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        if left <= _STANDING // 2:
            await pull()

    await client.subscribe(inbox, cb=take)
    await pull()


async def _handle(client: Client, replies: Replies, message: Msg) -> None:
    reply, _, body = message.data.partition(b"\n")
    async with asyncio.timeout(_TIMEOUT_SECONDS):
        await append(client, replies, _ENDED, body.ljust(_ENDED_BYTES))
        await client.publish(reply.decode(), ANSWER)
        await client.publish(message.reply, b"+ACK")


async def main(arguments: list[str]) -> None:
    """One of the two processes, until SIGTERM."""
    role, url, *rest = arguments
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    client = await nats.connect(url)
    await (serve_http(client, int(rest[0])) if role == "http" else work(client))
    await stopping.wait()
    await client.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1:]))
