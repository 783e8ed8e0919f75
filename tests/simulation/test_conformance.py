"""The made-up log answers as nats-server does: the same operations, chosen by chance, are asked of both."""

import asyncio
import random
from typing import Any

import msgspec
import pytest
import time_machine

from libs.events.broker import Broker
from libs.events.wire import Heard
from libs.runtime.ids import new_id
from tests.simulation.loop import EPOCH, Process, VirtualLoop
from tests.simulation.network import CALM, Network
from tests.simulation.server import Server
from tests.simulation.wire import Wire

_STEPS = 60
_PULL_SECONDS = 0.3
_TOLD = ("Status", "Nats-Subject", "Nats-Sequence", "Nats-Num-Pending", "Nats-Last-Sequence", "Nats-Pending-Messages")


class Driver:
    """Does the operations that chance chooses, and notes the answers as far as they do not depend on the clock."""

    def __init__(self, broker: Any, prefix: str, seed: int) -> None:
        self.answers: list[Any] = []
        self._broker = broker
        self._prefix = prefix
        self._chance = random.Random(seed)
        self._acks: list[str] = []

    async def run(self) -> list[Any]:
        """All answers."""
        await self._make_streams()
        for _ in range(_STEPS):
            step = self._chance.choice([self._store, self._store, self._store, self._last, self._direct, self._batch])
            await self._chance.choice([step, step, self._pull, self._acknowledge, self._look, self._purge])()
        return self.answers

    async def _make_streams(self) -> None:
        for name, more in (("many", {}), ("one", {"max_msgs_per_subject": 1, "discard": "old"})):
            config = {"name": self._name(name), "subjects": [f"{self._name(name)}.>"], "allow_direct": True, **more}
            await self._api(f"STREAM.CREATE.{config['name']}", {"storage": "memory", **config}, ())
        config = {
            "durable_name": "worker",
            "name": "worker",
            "filter_subject": self._subject("many", "a.*"),
            "ack_policy": "explicit",
            "ack_wait": int(60e9),
            "max_ack_pending": 1000,
        }
        many = self._name("many")
        call = f"CONSUMER.CREATE.{many}.worker.{config['filter_subject']}"
        await self._api(call, {"stream_name": many, "config": config}, ("name", "num_pending"))

    async def _store(self) -> None:
        stream, subject = self._place()
        headers = {}
        if self._chance.random() < 0.6:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(self._chance.choice([0, 0, 1, 2, 3, 5, 8, 13]))
            if self._chance.random() < 0.5:
                headers["Nats-Expected-Last-Subject-Sequence-Subject"] = self._subject(stream, subject[0] + ".*")
        if self._chance.random() < 0.1:
            headers["Nats-Expected-Stream"] = self._name(self._chance.choice(["many", "one"]))
        payload = str(self._chance.randint(0, 9)).encode()
        answer = await self._broker.request(self._subject(stream, subject), payload, headers)
        told = msgspec.json.decode(answer.data)
        error = told.get("error", {})
        self.answers.append(("store", told["seq"], error.get("err_code"), error.get("code")))

    async def _last(self) -> None:
        stream, subject = self._place()
        wanted = {"last_by_subj": self._subject(stream, self._chance.choice([subject, subject[0] + ".*"]))}
        answer = await self._broker.request(f"$JS.API.STREAM.MSG.GET.{self._name(stream)}", msgspec.json.encode(wanted))
        told = msgspec.json.decode(answer.data)
        found = told.get("message", {})
        self.answers.append(("last", found.get("seq"), found.get("data"), told.get("error", {}).get("err_code")))

    async def _direct(self) -> None:
        stream, subject = self._place()
        call = f"$JS.API.DIRECT.GET.{self._name(stream)}"
        if self._chance.random() < 0.5:
            wanted = {"last_by_subj": self._subject(stream, self._chance.choice([subject, subject[0] + ".*"]))}
            answer = await self._broker.request(call, msgspec.json.encode(wanted))
        else:
            answer = await self._broker.request(f"{call}.{self._subject(stream, subject)}")
        self.answers.append(("direct", *self._told(answer)))

    async def _batch(self) -> None:
        stream, subject = self._place()
        wanted = {
            "seq": self._chance.randint(1, 12),
            "next_by_subj": self._subject(stream, self._chance.choice([subject, "*.*", subject[0] + ".*"])),
            "batch": self._chance.choice([1, 2, 50]),
        }
        call = f"$JS.API.DIRECT.GET.{self._name(stream)}"
        answers = await self._broker.request_many(call, msgspec.json.encode(wanted))
        self.answers.append(("batch", *map(self._told, answers)))

    async def _pull(self) -> None:
        """As many as are there, and the end of the pull where more were asked for."""
        heard: asyncio.Queue[Heard] = asyncio.Queue()
        inbox = self._broker.new_inbox()
        subscription = await self._broker.hear(f"{inbox}.*", heard.put_nowait)
        count = self._chance.choice([1, 2, 5])
        body: dict[str, Any] = {"batch": count, "expires": int(_PULL_SECONDS * 1e9), "idle_heartbeat": int(0.1e9)}
        if self._chance.random() < 0.3:
            body = {"batch": count, "no_wait": True}
            await asyncio.sleep(0.1)  # the real one hears of what it stored a moment after it says so
        call = f"$JS.API.CONSUMER.MSG.NEXT.{self._name('many')}.worker"
        await self._broker.publish_with_reply(call, msgspec.json.encode(body), f"{inbox}.1")
        deliveries: list[Any] = []
        status = ""
        async with asyncio.timeout(10.0):
            while count and status not in ("404", "408"):
                message = await heard.get()
                if message.has_status:
                    status = message.headers["Status"]
                    last = message.headers.get("Nats-Last-Consumer", message.headers.get("Nats-Pending-Messages"))
                    deliveries += [(status, last)] if (status, last) not in deliveries else []
                    continue
                count -= 1
                self._acks.append(message.reply)
                attempt, sequence, consumer_sequence, _, pending = message.reply.split(".")[-5:]
                place = (self._bare(message.subject), attempt, sequence, consumer_sequence, pending)
                deliveries.append((place, message.data))
        self.answers.append(("pull", *deliveries))
        await self._broker.unsubscribe(subscription)

    async def _acknowledge(self) -> None:
        """Any delivery, also one that was answered before or is somebody else's by now."""
        if self._acks:
            reply = self._chance.choice(self._acks[-4:])
            await self._broker.request(reply, self._chance.choice([b"+ACK", b"+ACK", b"-NAK", b"+TERM", b"+WPI"]))
            await self._look()

    async def _look(self) -> None:
        """How many deliveries the consumer waits for an answer to."""
        call = f"CONSUMER.INFO.{self._name('many')}.worker"
        await self._api(call, {}, ("num_ack_pending",))

    async def _purge(self) -> None:
        stream, subject = "one", self._place()[1]
        wanted: dict[str, Any] = {"filter": self._subject(stream, self._chance.choice([subject, subject[0] + ".*"]))}
        if self._chance.random() < 0.5:
            wanted["seq"] = self._chance.randint(1, 12)
        await self._api(f"STREAM.PURGE.{self._name(stream)}", wanted, ("purged",))

    async def _api(self, call: str, body: object, told: tuple[str, ...]) -> None:
        answer = await self._broker.request(f"$JS.API.{call}", msgspec.json.encode(body))
        found = msgspec.json.decode(answer.data)
        self.answers.append((call.partition(".")[0], *[found[name] for name in told]))

    def _told(self, answer: Heard) -> tuple[Any, ...]:
        headers = answer.headers
        return (answer.data, *[self._bare(headers[name]) for name in _TOLD if name in headers])

    def _place(self) -> tuple[str, str]:
        return self._chance.choice(["many", "many", "one"]), self._chance.choice(["a.x", "a.y", "b.x", "b.z"])

    def _name(self, stream: str) -> str:
        return f"{self._prefix}_{stream}"

    def _subject(self, stream: str, subject: str) -> str:
        return f"{self._name(stream)}.{subject}"

    def _bare(self, text: str) -> str:
        return text.replace(self._prefix, "")


def made_up(prefix: str, seed: int) -> list[Any]:
    """The answers of the made-up server."""
    with time_machine.travel(EPOCH, tick=False) as clock:
        loop = VirtualLoop(clock)
        asyncio.set_event_loop(loop)
        server = Server(loop, Network(loop, random.Random(0), CALM), random.Random(0))
        broker = Wire(server, Process(loop, "test"))
        try:
            return loop.run_until_complete(Driver(broker, prefix, seed).run())
        finally:
            loop.close()
            asyncio.set_event_loop(None)


@pytest.mark.parametrize("seed", range(12))
async def test_both_answer_alike(broker: Broker, seed: int) -> None:
    prefix = new_id("conformance")
    real = await Driver(broker, prefix, seed).run()
    imagined = await asyncio.to_thread(made_up, prefix, seed)
    assert imagined == real
    for stream in ("many", "one"):
        await broker.request(f"$JS.API.STREAM.DELETE.{prefix}_{stream}")
