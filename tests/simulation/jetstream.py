"""JetStream in memory: streams, compare-and-set, direct reads, consumers that deliver again what nobody acknowledged.

As much of it as Headgate uses, with the answers of nats-server 2.15 (`test_conformance` asks both the same). Pure
bookkeeping: the time is an argument, what is to be sent goes out through `Send`.
"""

import base64
import functools
import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

WRONG_LAST_SEQUENCE = 10071
WRONG_LAST_SEQUENCE_UNDER_REPLICATION = 10164

Headers = dict[str, str]
Send = Callable[[str, bytes, Headers | None, str, str], None]
"""To whom, the payload, headers, the subject that the receiver sees, where it may answer."""
At = Callable[[float, Callable[[], None]], None]
"""Have something done at a time."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """A stored message."""

    sequence: int
    subject: str
    data: bytes
    headers: Headers
    at: float


class Pull(msgspec.Struct):
    """A request for messages that stands until it is used up or over."""

    reply: str
    left: int
    ends_at: float
    heartbeat: float
    quiet_since: float


class Pending(msgspec.Struct):
    """A message that was delivered and not acknowledged."""

    consumer_sequence: int
    lease_ends_at: float


@functools.lru_cache(maxsize=4096)
def pattern(subject: str) -> re.Pattern[str]:
    """What a subject with wildcards matches."""
    tokens = [r"[^.]+" if token == "*" else r".+" if token == ">" else re.escape(token) for token in subject.split(".")]
    return re.compile(r"\.".join(tokens))


def matches(filters: Iterable[str], subject: str) -> bool:
    """Whether one of the filters matches."""
    return any(pattern(each).fullmatch(subject) for each in filters)


class Consumer:
    """A pull consumer: where it is in its stream, what it waits for, who asks it."""

    def __init__(self, name: str, config: dict[str, Any]) -> None:
        self.name = name
        self.durable = "durable_name" in config
        one = config.get("filter_subject")
        self.filters: tuple[str, ...] = (one,) if one else tuple(config.get("filter_subjects", (">",)))
        self.explicit = config.get("ack_policy") == "explicit"
        self.lease_seconds = config.get("ack_wait", 30_000_000_000) / 1e9
        self.queue: deque[int] = deque()
        """What it has not delivered yet, as stream sequences."""
        self.again: deque[int] = deque()
        self.pending: dict[int, Pending] = {}
        self.deliveries: dict[int, int] = {}
        self.sequence = 0
        self.reached = 0
        """The stream sequence of the last message that was delivered for the first time."""
        self.pulls: deque[Pull] = deque()
        self.done: list[tuple[float, int]] = []
        """When what was acknowledged, for a server that dies before it has written that down."""

    def info(self) -> dict[str, Any]:
        """The answer about it: up to where everything that was delivered is acknowledged, and how much is not."""
        floor = min([self.reached, *(sequence - 1 for sequence in self.pending)])
        return {"ack_floor": {"stream_seq": floor}, "num_ack_pending": len(self.pending)}


class Stream:
    """An append-only stream, or one that keeps the last message of each subject."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.name: str = config["name"]
        self.config = config
        self.subjects: tuple[str, ...] = tuple(config["subjects"])
        self.keeps = config.get("max_msgs_per_subject", -1)
        self.last = 0
        self.messages: dict[int, Message] = {}
        self.by_subject: dict[str, list[int]] = {}
        self.consumers: dict[str, Consumer] = {}

    def last_of(self, subject: str) -> int:
        """The sequence of the last message on a subject, wildcards allowed; 0: none."""
        if "*" not in subject and ">" not in subject:
            found = self.by_subject.get(subject)
            return found[-1] if found else 0
        match = pattern(subject).fullmatch
        return max((sequences[-1] for each, sequences in self.by_subject.items() if match(each)), default=0)

    def refusal(self, subject: str, headers: Headers) -> dict[str, Any] | None:
        """Why a message is not stored: what it expected is not so."""
        if headers.get("Nats-Expected-Stream", self.name) != self.name:
            return {"code": 400, "err_code": 10060, "description": "expected stream does not match"}
        expected = headers.get("Nats-Expected-Last-Subject-Sequence")
        if expected is None:
            return None
        last = self.last_of(headers.get("Nats-Expected-Last-Subject-Sequence-Subject", subject))
        if last == int(expected):
            return None
        return {"code": 400, "err_code": WRONG_LAST_SEQUENCE, "description": f"wrong last sequence: {last}"}

    def store(self, subject: str, data: bytes, headers: Headers, at: float) -> Message:
        """Append."""
        self.last += 1
        message = Message(self.last, subject, data, headers, at)
        self.messages[self.last] = message
        of_subject = self.by_subject.setdefault(subject, [])
        of_subject.append(self.last)
        if 0 < self.keeps < len(of_subject):
            del self.messages[of_subject.pop(0)]
        for consumer in self.consumers.values():
            if matches(consumer.filters, subject):
                consumer.queue.append(self.last)
        return message

    def purge(self, subject: str, before: int | None = None) -> int:
        """Throw away what matches, all of it or what lies before a sequence; how many that were."""
        gone = [s for s, m in self.messages.items() if matches((subject,), m.subject) and (not before or s < before)]
        for sequence in gone:
            of_subject = self.by_subject[self.messages.pop(sequence).subject]
            of_subject.remove(sequence)
        self.by_subject = {each: sequences for each, sequences in self.by_subject.items() if sequences}
        return len(gone)

    def direct(self, message: Message | None) -> tuple[bytes, Headers]:
        """The answer of a direct get."""
        if message is None:
            return b"", {"Status": "404", "Description": "Message Not Found"}
        headers = {
            **message.headers,
            "Nats-Stream": self.name,
            "Nats-Subject": message.subject,
            "Nats-Sequence": str(message.sequence),
        }
        return message.data, headers

    def asked(self, wanted: dict[str, Any]) -> list[tuple[bytes, Headers]]:
        """The answers of a direct get that says in its body what it wants: the last on a subject, or a batch."""
        if subject := wanted.get("last_by_subj"):
            return [self.direct(self.messages.get(self.last_of(subject)))]
        return self.batch(wanted)

    def batch(self, wanted: dict[str, Any]) -> list[tuple[bytes, Headers]]:
        """The answers of a batched direct get, the last of which says how many are left."""
        match = pattern(wanted["next_by_subj"]).fullmatch
        found = [m for s, m in self.messages.items() if s >= wanted.get("seq", 1) and match(m.subject)]
        if not found:
            return [(b"", {"Status": "404", "Description": "Message Not Found"})]
        size, taken = 0, list[Message]()
        for message in found[: wanted["batch"]]:
            size += len(message.data)
            if taken and size > wanted.get("max_bytes", size):
                break
            taken.append(message)
        answers, last = list[tuple[bytes, Headers]](), 0
        for number, message in enumerate(taken, 1):
            data, headers = self.direct(message)
            place = {"Nats-Num-Pending": str(len(found) - number), "Nats-Last-Sequence": str(last)}
            answers.append((data, headers | place))
            last = message.sequence
        left = {"Nats-Num-Pending": str(len(found) - len(taken)), "Nats-Last-Sequence": str(taken[-1].sequence)}
        return [*answers, (b"", {"Status": "204", "Description": "EOB", **left})]

    def get_last(self, subject: str) -> dict[str, Any]:
        """The answer of `STREAM.MSG.GET` by subject."""
        last = self.last_of(subject)
        if not last:
            return {"error": {"code": 404, "err_code": 10037, "description": "no message found"}}
        message = self.messages[last]
        data = base64.b64encode(message.data).decode()
        return {"message": {"subject": message.subject, "seq": last, "data": data}}

    def consumer(self, name: str, config: dict[str, Any]) -> Consumer:
        """The consumer of that name, made if there is none."""
        found = self.consumers.get(name)
        if found is not None:
            return found
        made = self.consumers[name] = Consumer(name, config)
        start = config.get("opt_start_seq", 1)
        sequences = [s for s, m in self.messages.items() if s >= start and matches(made.filters, m.subject)]
        if config.get("deliver_policy") == "last_per_subject":
            sequences = [s for s in sequences if self.by_subject[self.messages[s].subject][-1] == s]
        made.queue.extend(sequences)
        return made


class Deliveries:
    """What consumers do over time. One for all streams of a server."""

    def __init__(self, send: Send, at: At, time: Callable[[], float], hears: Callable[[str], bool]) -> None:
        self._send = send
        self._at = at
        self._time = time
        self._hears = hears

    def pull(self, stream: Stream, consumer: Consumer, wanted: dict[str, Any], reply: str) -> None:
        """Somebody asks for messages; `no_wait`: for those that are there, and to hear that there are no more."""
        now = self._time()
        beat = wanted.get("idle_heartbeat", 0) / 1e9
        pull = Pull(reply, wanted["batch"], now + wanted.get("expires", 0) / 1e9, beat, now)
        consumer.pulls.append(pull)
        self.pump(stream, consumer)
        if wanted.get("no_wait"):
            if pull in consumer.pulls:
                consumer.pulls.remove(pull)
                self._send(reply, b"", {"Status": "404", "Description": "No Messages"}, reply, "")
            return
        if pull.left:
            self._at(pull.ends_at, lambda: self._over(consumer, pull))
            if beat:
                self._at(now + beat, lambda: self._beat(consumer, pull))

    def pump(self, stream: Stream, consumer: Consumer) -> None:
        """Deliver what there is to those who asked, in turn."""
        while consumer.pulls and (consumer.again or consumer.queue):
            pull = consumer.pulls[0]
            if not self._hears(pull.reply):
                consumer.pulls.popleft()
                continue
            sequence = consumer.again.popleft() if consumer.again else consumer.queue.popleft()
            if sequence not in stream.messages:
                continue
            pull.left -= 1
            pull.quiet_since = self._time()
            consumer.pulls.rotate(-1)
            if not pull.left:
                consumer.pulls.remove(pull)
            self._deliver(stream, consumer, sequence, pull.reply)

    def answered(self, stream: Stream, consumer: Consumer, tokens: list[str], answer: bytes) -> None:
        """An acknowledgement, of whichever kind, of whichever delivery."""
        sequence = int(tokens[5])
        pending = consumer.pending.get(sequence)
        if pending is None:
            return
        if answer in (b"", b"+ACK") or answer.startswith(b"+TERM"):
            self._done(consumer, sequence)
            consumer.done.append((self._time(), sequence))
        elif answer.startswith(b"+WPI"):
            self._lease(stream, consumer, sequence, pending)
        elif answer.startswith(b"-NAK"):
            delay = msgspec.json.decode(answer[5:])["delay"] / 1e9 if len(answer) > 5 else 0.0
            if delay:
                self._lease(stream, consumer, sequence, pending, delay)
            elif sequence not in consumer.again:
                consumer.again.append(sequence)
                self.pump(stream, consumer)

    def forget_acknowledgement(self, stream: Stream, consumer: Consumer, sequence: int, *, delivery: bool) -> None:
        """What a server that was killed had not written down: an acknowledgement, perhaps the delivery itself."""
        if delivery:
            consumer.deliveries.pop(sequence, None)
            consumer.again.append(sequence)
        elif sequence not in consumer.pending:
            pending = consumer.pending[sequence] = Pending(consumer.sequence, 0.0)
            self._lease(stream, consumer, sequence, pending)

    def _deliver(self, stream: Stream, consumer: Consumer, sequence: int, reply: str) -> None:
        message = stream.messages[sequence]
        consumer.sequence += 1
        consumer.reached = max(consumer.reached, sequence)
        attempt = consumer.deliveries[sequence] = consumer.deliveries.get(sequence, 0) + 1
        place = f"{attempt}.{sequence}.{consumer.sequence}.{int(self._time() * 1e9)}.{len(consumer.queue)}"
        if consumer.explicit:
            pending = consumer.pending[sequence] = Pending(consumer.sequence, 0.0)
            self._lease(stream, consumer, sequence, pending)
        else:
            del consumer.deliveries[sequence]
        ack = f"$JS.ACK.{stream.name}.{consumer.name}.{place}"
        self._send(reply, message.data, message.headers or None, message.subject, ack)

    def _lease(
        self, stream: Stream, consumer: Consumer, sequence: int, pending: Pending, seconds: float | None = None
    ) -> None:
        pending.lease_ends_at = self._time() + (consumer.lease_seconds if seconds is None else seconds)
        self._at(pending.lease_ends_at, lambda: self._lapse(stream, consumer, sequence, pending))

    def _lapse(self, stream: Stream, consumer: Consumer, sequence: int, pending: Pending) -> None:
        if consumer.pending.get(sequence) is not pending or pending.lease_ends_at > self._time():
            return
        if sequence not in consumer.again:
            consumer.again.append(sequence)
            self.pump(stream, consumer)

    def _done(self, consumer: Consumer, sequence: int) -> None:
        del consumer.pending[sequence]
        consumer.deliveries.pop(sequence, None)
        if sequence in consumer.again:
            consumer.again.remove(sequence)

    def _over(self, consumer: Consumer, pull: Pull) -> None:
        if pull in consumer.pulls:
            consumer.pulls.remove(pull)
            headers = {"Status": "408", "Description": "Request Timeout", "Nats-Pending-Messages": str(pull.left)}
            self._send(pull.reply, b"", headers, pull.reply, "")

    def _beat(self, consumer: Consumer, pull: Pull) -> None:
        if pull not in consumer.pulls:
            return
        now = self._time()
        if now - pull.quiet_since >= pull.heartbeat - 1e-6:
            pull.quiet_since = now
            headers = {
                "Status": "100",
                "Description": "Idle Heartbeat",
                "Nats-Last-Consumer": str(consumer.sequence),
                "Nats-Last-Stream": str(consumer.reached),
            }
            self._send(pull.reply, b"", headers, pull.reply, "")
        self._at(pull.quiet_since + pull.heartbeat, lambda: self._beat(consumer, pull))
