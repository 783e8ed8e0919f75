"""Deliveries: what is told to whom outside, and what became of each attempt. Names and fields are stored for ever.

A delivery is one event for one target; its id follows from both, so that whoever comes to it again, after a crash or
on request, sends the same thing under the same id. The queue of first attempts is the log of runs itself; that of later
ones are timers, which carry the delivery. What is stored here are the facts for people and tables, many in a message:

    dlv.<workspace>      `{"facts": [...]}` in stream DELIVERIES
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Literal

import msgspec

from libs.events.appends import store_message
from libs.events.broker import Broker
from libs.events.subjects import delivery_subject
from libs.runtime.ids import derived_id

KIND = "delivery"
"""The kind of timers that deliveries wait for."""

MAX_ANSWER_BYTES = 1024
"""How much of a receiver's answer is kept."""

_PATIENCE_SECONDS = 10.0


class ToWebhook(msgspec.Struct, frozen=True, kw_only=True, tag="webhook", tag_field="channel"):
    """A registered address; where it points and what signs are looked up for every attempt."""

    webhook_id: str


class ToCallback(msgspec.Struct, frozen=True, kw_only=True, tag="callback", tag_field="channel"):
    """An address that a run, a deployment or an `api_output` named; the deployment's secret signs."""

    url: str


class ToEmail(msgspec.Struct, frozen=True, kw_only=True, tag="email", tag_field="channel"):
    """One or several mail addresses (with commas between), and the subject."""

    to: str
    subject: str


Target = ToWebhook | ToCallback | ToEmail
Channel = Literal["webhook", "callback", "email"]


class Delivery(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event for one target."""

    id: str
    workspace: str
    target: Target
    event: str
    """`flow_completed` and its like for webhooks; `run_ended` for callbacks and email; `test`."""
    created_at: datetime
    flow_id: str = ""
    deployment_id: str = ""
    run_id: str = ""
    seq: int = 0
    """Which event of the run is told."""
    attempts: int = 0
    """Attempts that were made so far."""
    asked_for: int = 0
    """How often somebody asked for it again: attempts begin anew with each."""
    trace: str | None = None
    """W3C `traceparent` of the append that has the event."""

    @property
    def channel(self) -> Channel:
        """How it goes out."""
        match self.target:
            case ToWebhook():
                return "webhook"
            case ToCallback():
                return "callback"
            case ToEmail():
                return "email"


class Attempted(msgspec.Struct, frozen=True, kw_only=True, tag="delivery.attempted", tag_field="type"):
    """One attempt. `next_at`: when the next one is due; None: it was delivered, or given up."""

    at: datetime
    id: str
    """The attempt's own: it may be stored twice after a lost acknowledgement."""
    delivery: Delivery
    number: int
    outcome: Literal["delivered", "failed"]
    status: int | None
    """The receiver's status (HTTP or SMTP), if it answered."""
    latency_seconds: float
    answer: str
    """The first kilobyte of what it said."""
    error: str | None
    next_at: datetime | None


class Dropped(msgspec.Struct, frozen=True, kw_only=True, tag="delivery.dropped", tag_field="type"):
    """It is not tried any more, and not because of an attempt: its target is gone."""

    at: datetime
    delivery: Delivery
    reason: str


Fact = Attempted | Dropped


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the stream."""

    facts: list[Fact]


_decoder = msgspec.json.Decoder(Facts)
_due_decoder: msgspec.json.Decoder[Delivery | list[Delivery]] = msgspec.json.Decoder(Delivery | list[Delivery])


def delivery_id(workspace: str, target: Target, run_id: str, seq: int, event: str) -> str:
    """The id of the delivery of one event to one target, the same every time."""
    return derived_id("dlv", workspace, msgspec.json.encode(target).decode(), run_id, str(seq), event)


def encode_delivery(delivery: Delivery) -> bytes:
    """A delivery as its own timer carries it."""
    return msgspec.json.encode(delivery)


def bundles(deliveries: Sequence[Delivery], max_bytes: int) -> Iterator[bytes]:
    """Deliveries as timers carry them that are nobody's own, as many in each as fit."""
    bundle: list[bytes] = []
    size = 2
    for encoded in map(msgspec.json.encode, deliveries):
        if bundle and size + len(encoded) + 1 > max_bytes:
            yield b"[" + b",".join(bundle) + b"]"
            bundle, size = [], 2
        bundle.append(encoded)
        size += len(encoded) + 1
    if bundle:
        yield b"[" + b",".join(bundle) + b"]"


def decode_due(payload: bytes) -> list[Delivery]:
    """The deliveries that a timer carries: one, or a bundle."""
    found = _due_decoder.decode(payload)
    return found if isinstance(found, list) else [found]


def decode_facts(payload: bytes) -> list[Fact]:
    """The facts in a message of the stream."""
    return _decoder.decode(payload).facts


async def store_facts(broker: Broker, workspace: str, facts: list[Fact]) -> None:
    """Store facts of one workspace; returns when they are on disk. Unavailable when that cannot be done now."""
    payload = msgspec.json.encode(Facts(facts=facts))
    await store_message(broker, delivery_subject(workspace), payload, patience_seconds=_PATIENCE_SECONDS)
