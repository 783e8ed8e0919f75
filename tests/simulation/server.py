"""The log's server: connections, subjects, and the JetStream API, over a network that is not always kind."""

import random
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from libs.events.wire import Heard, Listener, encode_headers
from tests.simulation.jetstream import (
    WRONG_LAST_SEQUENCE_UNDER_REPLICATION,
    Consumer,
    Deliveries,
    Headers,
    Message,
    Stream,
    matches,
    pattern,
)
from tests.simulation.loop import EPOCH, Process, VirtualLoop
from tests.simulation.network import Network

OnStored = Callable[[Stream, Message], None]

PING = "ping"
"""What a client asks to know that everything before has arrived."""

_UNWRITTEN_SECONDS = 0.5
"""What a consumer was told so shortly before its server was killed may be forgotten; messages never are."""


class Interest(msgspec.Struct):
    """A subscription of a connection, as the server knows it."""

    subject: str
    connection: "Connection"
    call: Listener


def _head(headers: Headers | None) -> bytes:
    """Headers as they go over the wire, the server's own status in the first line."""
    if not headers:
        return b""
    named = {name: value for name, value in headers.items() if name not in ("Status", "Description")}
    head = encode_headers(named)
    if "Status" not in headers:
        return head
    status = f"NATS/1.0 {headers['Status']} {headers.get('Description', '')}".strip()
    return status.encode() + head.removeprefix(b"NATS/1.0")


class Connection:
    """The server's end of a process's connection."""

    def __init__(self, server: "Server", process: Process) -> None:
        self.server = server
        self.process = process
        self.open = False
        self.life = 0
        """Counts the times it was opened: what was under way in an earlier life does not arrive."""
        self.last_in = 0.0
        self.last_out = 0.0


class Server:
    """One server, or a cluster that behaves as one but for what its clients notice."""

    def __init__(self, loop: VirtualLoop, network: Network, chance: random.Random) -> None:
        self.loop = loop
        self.network = network
        self.chance = chance
        self.up = True
        self.streams: dict[str, Stream] = {}
        self.connections: list[Connection] = []
        self.interests: list[Interest] = []
        self.leaderless_until = 0.0
        self.on_stored: list[OnStored] = []
        self._names = 0
        self._deliveries = Deliveries(self._deliver, self._at, loop.time, self._hears)

    # What connections bring

    def receive(self, connection: Connection, subject: str, data: bytes, headers: Headers | None, reply: str) -> None:
        """A message from a client."""
        if not self.up:
            return
        if subject == PING:
            self.send(reply, b"pong")
        elif subject.startswith("$JS.API."):
            self._api(subject.split(".")[2:], data, reply)
        elif subject.startswith("$JS.ACK."):
            self._acknowledged(subject.split("."), data)
            if reply:
                self.send(reply, b"")
        else:
            self._published(subject, data, headers or {}, reply)

    def hear(self, interest: Interest) -> None:
        """A client subscribes."""
        self.interests.append(interest)

    def unhear(self, interest: Interest) -> None:
        """A client does so no more."""
        if interest in self.interests:
            self.interests.remove(interest)

    def closed(self, connection: Connection) -> None:
        """A connection is gone: so is what was asked over it."""
        self.interests = [each for each in self.interests if each.connection is not connection]

    # What happens to it

    def kill(self) -> None:
        """`kill -9`: connections break, pulls and consumers in memory are gone, the last acknowledgements too."""
        self.up = False
        now = self.loop.time()
        for stream in self.streams.values():
            stream.consumers = {name: c for name, c in stream.consumers.items() if c.durable}
            for consumer in stream.consumers.values():
                consumer.pulls.clear()
                for at, sequence in consumer.done:
                    if now - at < _UNWRITTEN_SECONDS and self.chance.random() < 0.5:
                        lost = self.chance.random() < 0.5
                        self._deliveries.forget_acknowledgement(stream, consumer, sequence, delivery=lost)
                consumer.done.clear()

    def start(self) -> None:
        """Serve again."""
        self.up = True

    # Subjects

    def send(self, subject: str, data: bytes, headers: Headers | None = None, shown: str = "", reply: str = "") -> bool:
        """Bring a message to everybody who listens on `subject`; whether anybody does."""
        found = [each for each in self.interests if pattern(each.subject).fullmatch(subject)]
        message = Heard(shown or subject, reply, data, _head(headers))
        for each in found:
            self.network.bring(each.connection, each.call, message)
        return bool(found)

    def _deliver(self, to: str, data: bytes, headers: Headers | None, shown: str, reply: str) -> None:
        self.send(to, data, headers, shown, reply)

    def _hears(self, subject: str) -> bool:
        return any(pattern(each.subject).fullmatch(subject) for each in self.interests)

    def _at(self, when: float, call: Callable[[], None]) -> None:
        self.loop.call_at(when, call, context=self.network.context)

    def _published(self, subject: str, data: bytes, headers: Headers, reply: str, *, surely: bool = False) -> None:
        stream = next((each for each in self.streams.values() if matches(each.subjects, subject)), None)
        if stream is None:
            if not self.send(subject, data, headers or None, reply=reply) and reply:
                self.send(reply, b"", {"Status": "503"})
            return
        if self._leaderless():
            # Nobody leads the stream: the server says so, or nobody answers.
            if reply and self.chance.random() < 0.5:
                self.send(reply, b"", {"Status": "503"})
            return
        refusal = stream.refusal(subject, headers)
        if refusal is None and not surely and self.network.refuses_without_reason():
            refusal = {"code": 400, "err_code": WRONG_LAST_SEQUENCE_UNDER_REPLICATION, "description": "wrong last"}
        if refusal is not None:
            self._answer(reply, {"error": refusal, "stream": stream.name, "seq": 0})
            return
        message = stream.store(subject, data, dict(headers), self.loop.time())
        for call in self.on_stored:
            call(stream, message)
        self._answer(reply, {"stream": stream.name, "seq": message.sequence})
        self._schedule(stream, message)
        republish = stream.config.get("republish")
        if republish:
            told = {**headers, "Nats-Stream": stream.name, "Nats-Subject": subject}
            told["Nats-Sequence"] = str(message.sequence)
            self.send("live." + subject, data, told)
        for consumer in list(stream.consumers.values()):
            self._deliveries.pump(stream, consumer)

    def _schedule(self, stream: Stream, message: Message) -> None:
        """Have a message that is a timer come due, unless it is replaced or purged before; or end one that is."""
        at = message.headers.get("Nats-Schedule", "").removeprefix("@at ")
        if at:
            when = (datetime.fromisoformat(at) - EPOCH).total_seconds()
            self._at(max(when, self.loop.time()) + self.chance.uniform(0.0, 0.2), lambda: self._due(stream, message))
        elif message.headers.get("Nats-Schedule-Next") == "purge":
            stream.purge(message.headers["Nats-Scheduler"])

    def _due(self, stream: Stream, message: Message) -> None:
        if stream.messages.get(message.sequence) is not message:
            return
        if not self.up or self._leaderless():
            self._at(self.loop.time() + 0.5, lambda: self._due(stream, message))
            return
        told = {"Nats-Scheduler": message.subject, "Nats-Schedule-Next": "purge"}
        self._published(message.headers["Nats-Schedule-Target"], message.data, told, "", surely=True)

    # The API of JetStream

    def _api(self, call: list[str], data: bytes, reply: str) -> None:
        if self._leaderless():
            return
        match call:
            case ["STREAM", "CREATE" | "UPDATE", name]:
                if name not in self.streams:
                    self.streams[name] = Stream(msgspec.json.decode(data))
                self._answer(reply, {"config": self.streams[name].config})
            case ["STREAM", "INFO", name]:
                self._answer(reply, {"config": self.streams[name].config})
            case ["STREAM", "MSG", "GET", name]:
                self._answer(reply, self.streams[name].get_last(msgspec.json.decode(data)["last_by_subj"]))
            case ["DIRECT", "GET", name]:
                for body, headers in self.streams[name].asked(msgspec.json.decode(data)):
                    self.send(reply, body, headers)
            case ["DIRECT", "GET", name, *tokens]:
                stream = self.streams[name]
                body, headers = stream.direct(stream.messages.get(stream.last_of(".".join(tokens))))
                self.send(reply, body, headers)
            case ["STREAM", "PURGE", name]:
                wanted = msgspec.json.decode(data)
                self._answer(reply, {"purged": self.streams[name].purge(wanted["filter"], wanted.get("seq"))})
            case ["CONSUMER", "INFO", name, consumer_name]:
                known = self.streams[name].consumers.get(consumer_name)
                self._answer(reply, known.info() if known else {"error": {"code": 404}})
            case ["CONSUMER", "CREATE", name, *_]:
                self._make_consumer(self.streams[name], msgspec.json.decode(data)["config"], reply)
            case ["CONSUMER", "MSG", "NEXT", name, consumer_name]:
                consumer = self.streams[name].consumers.get(consumer_name)
                if consumer is None:
                    self.send(reply, b"", {"Status": "503"})
                else:
                    self._deliveries.pull(self.streams[name], consumer, msgspec.json.decode(data), reply)
            case _:
                raise NotImplementedError(".".join(call))

    def _make_consumer(self, stream: Stream, config: dict[str, Any], reply: str) -> None:
        name = config.get("durable_name")
        if name is None:
            self._names += 1
            name = f"ephemeral{self._names}"
        consumer: Consumer = stream.consumer(name, config)
        self._answer(reply, {"name": name, "num_pending": len(consumer.queue)})

    def _acknowledged(self, tokens: list[str], data: bytes) -> None:
        stream = self.streams[tokens[2]]
        consumer = stream.consumers.get(tokens[3])
        if consumer is not None and not self._leaderless():
            self._deliveries.answered(stream, consumer, tokens, data)

    def _answer(self, reply: str, body: dict[str, Any]) -> None:
        if reply:
            self.send(reply, msgspec.json.encode(body))

    def _leaderless(self) -> bool:
        return self.loop.time() < self.leaderless_until
