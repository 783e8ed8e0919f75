"""The events of a run. Names and fields here are stored for ever: add, never rename, never reuse.

The stored object is the served one: what lies in the log is byte for byte what `GET /v1/runs/{id}/events`
and SSE send, `{"type", "seq", "run_id", "at", "node"?, "data"}`. In CloudEvents 1.0 words: `type` is `type`, `at`
is `time`, `<run_id>:<seq>` is `id`, `/workspaces/<ws>/runs/<run>` is `source`.

A new event type is a Struct here and a line in `RunEvent`. Readers skip types they do not know.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import msgspec

Json = Any
"""A JSON value as msgspec decodes it."""


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What models cost: tokens, and US dollars by the price table."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=round(self.cost_usd + other.cost_usd, 10),
        )


class Fault(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """Why a run or a node failed: the node, a stable code, a sentence for people."""

    code: str
    message: str
    node: str | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every event has. `seq` counts 1, 2, 3 … within the run."""

    seq: int
    run_id: str
    at: datetime


class NodeEvent(Event, frozen=True, kw_only=True):
    """What every event of a node has."""

    node: str


class ReplayOf(msgspec.Struct, frozen=True, kw_only=True):
    """Which run's nodes are taken over: those that do not come after `from_node`, and are not it."""

    run_id: str
    from_node: str


class RequestedData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    flow_id: str
    deployment_id: str
    version: int
    input: dict[str, Json]
    mode: Literal["sync", "async", "stream"] = "sync"
    session_id: str | None = None
    tweaks: dict[str, dict[str, Json]] = {}
    metadata: dict[str, Json] = {}
    callback_url: str | None = None
    replay: ReplayOf | None = None
    batch_id: str | None = None


class RunRequested(Event, frozen=True, kw_only=True, tag="run.requested"):
    """Somebody asked for a run, and it was accepted."""

    data: RequestedData


class StartedData(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    executor: str


class RunStarted(Event, frozen=True, kw_only=True, tag="run.started"):
    """An executor took the run for the first time."""

    data: StartedData


class NodeStartedData(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    attempt: int = 1
    until: datetime | msgspec.UnsetType = msgspec.UNSET
    """When a node that only waits will be through."""


class NodeStarted(NodeEvent, frozen=True, kw_only=True, tag="node.started"):
    """An attempt at a node began. After a crash the same attempt may be started again."""

    data: NodeStartedData


class DeltaData(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    text: str = ""
    reasoning: str = ""


class NodeDelta(NodeEvent, frozen=True, kw_only=True, tag="node.delta"):
    """A model said a little more."""

    data: DeltaData


class RetryingData(msgspec.Struct, frozen=True, kw_only=True):
    attempt: int
    """The attempt that failed."""
    error: Fault
    retry_at: datetime


class NodeRetrying(NodeEvent, frozen=True, kw_only=True, tag="node.retrying"):
    """An attempt failed, and another will be made at `retry_at`."""

    data: RetryingData


class FinishedData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    output: Json
    duration_seconds: float
    usage: Usage | None = None


class NodeFinished(NodeEvent, frozen=True, kw_only=True, tag="node.finished"):
    """A node has its output; it is never run again."""

    data: FinishedData


class FailedData(msgspec.Struct, frozen=True, kw_only=True):
    error: Fault
    duration_seconds: float = 0.0
    continued: bool = False
    """Whether the run goes on all the same (`on_error: continue`)."""


class NodeFailed(NodeEvent, frozen=True, kw_only=True, tag="node.failed"):
    """A node's last attempt failed, or the run's end cut it off."""

    data: FailedData


class SkippedData(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    reason: Literal["not_taken", "run_failed", "run_cancelled"] = "not_taken"


class NodeSkipped(NodeEvent, frozen=True, kw_only=True, tag="node.skipped"):
    """A node will not run: no edge into it was taken, or the run ended before it."""

    data: SkippedData


class EndData(msgspec.Struct, frozen=True, kw_only=True):
    """What every end has, so that a reader of outcomes needs no other event."""

    usage: Usage
    started_at: datetime | None
    duration_seconds: float


class CompletedData(EndData, frozen=True, kw_only=True):
    output: Json


class RunCompleted(Event, frozen=True, kw_only=True, tag="run.completed"):
    """The run has its output."""

    data: CompletedData


class RunFailedData(EndData, frozen=True, kw_only=True):
    error: Fault


class RunFailed(Event, frozen=True, kw_only=True, tag="run.failed"):
    """The run ended without an output."""

    data: RunFailedData


class RunCancelled(Event, frozen=True, kw_only=True, tag="run.cancelled"):
    """Somebody cancelled the run; nothing of it starts after this."""

    data: EndData


RunEvent = (
    RunRequested
    | RunStarted
    | NodeStarted
    | NodeDelta
    | NodeRetrying
    | NodeFinished
    | NodeFailed
    | NodeSkipped
    | RunCompleted
    | RunFailed
    | RunCancelled
)
RunEnd = RunCompleted | RunFailed | RunCancelled

TERMINAL = frozenset({"run.completed", "run.failed", "run.cancelled"})


class Mail(msgspec.Struct, frozen=True, kw_only=True):
    """An email that a flow's `api_output` asks for, lookups filled in."""

    to: str
    subject: str


class Audience(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who is told of a run's end because the run or its flow says so. Deployments and webhooks have their own."""

    callback_urls: tuple[str, ...] = ()
    emails: tuple[Mail, ...] = ()

    def with_texts(self, change: Callable[[str], str]) -> "Audience":
        """The same with every text changed, as masking does."""
        return Audience(
            callback_urls=tuple(change(url) for url in self.callback_urls),
            emails=tuple(Mail(to=change(mail.to), subject=change(mail.subject)) for mail in self.emails),
        )


class Append(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of the log: some events of one run, and who appended them.

    What is about the append and not about the run stays out of the events, for they are served to callers.
    """

    by: str
    """A key's id (requests, cancels) or an executor's instance name."""
    events: list[RunEvent]
    address: str | None = None
    """The network address the request came from."""
    trace: str | None = None
    """W3C `traceparent` of what caused this."""
    reply: str | None = None
    """The gateway that waits for the run's end, if one does."""
    fingerprint: str | None = None
    """SHA-256 of the request's body, for requests with an `Idempotency-Key`."""
    audience: Audience | None = None
    """With the run's end: whom to tell of it."""


class Served(msgspec.Struct, frozen=True, gc=False):
    """One stored event, ready to be sent: its place, its type, and its bytes as stored."""

    seq: int
    type: str
    body: bytes

    @property
    def ends_run(self) -> bool:
        """Whether the run has no event after this one."""
        return self.type in TERMINAL


class _RawAppend(msgspec.Struct, frozen=True):
    events: list[msgspec.Raw]


class _Head(msgspec.Struct, frozen=True, gc=False):
    seq: int
    type: str


_append_decoder = msgspec.json.Decoder(Append)
_raw_decoder = msgspec.json.Decoder(_RawAppend)
_raws_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_head_decoder = msgspec.json.Decoder(_Head)
_event_decoder: msgspec.json.Decoder[RunEvent] = msgspec.json.Decoder(RunEvent)
_encoder = msgspec.json.Encoder()


def encode_append(append: Append) -> bytes:
    """The message's payload."""
    return _encoder.encode(append)


def decode_append(payload: bytes) -> Append:
    """The append in a payload; an event of an unknown type, from a newer replica, is left out."""
    try:
        return _append_decoder.decode(payload)
    except msgspec.ValidationError:
        known = [e for e in map(_known_event, _raw_decoder.decode(payload).events) if e is not None]
        bare = msgspec.convert({**msgspec.json.decode(payload), "events": []}, Append)
        return msgspec.structs.replace(bare, events=known)


def decode_event(payload: bytes) -> RunEvent | None:
    """One event as it was encoded by itself; None when it is of an unknown type."""
    return _known_event(msgspec.Raw(payload))


def decode_events(payload: bytes) -> list[RunEvent]:
    """A list of events; those of unknown types are left out."""
    return [event for event in map(_known_event, _raws_decoder.decode(payload)) if event is not None]


def encode_event(event: RunEvent) -> bytes:
    """One event by itself, as it is served."""
    return _encoder.encode(event)


def _known_event(raw: msgspec.Raw) -> RunEvent | None:
    try:
        return _event_decoder.decode(raw)
    except msgspec.ValidationError:
        return None


def serve_append(payload: bytes) -> list[Served]:
    """The events of a payload as they are served, without decoding more than their heads."""
    served = []
    for raw in _raw_decoder.decode(payload).events:
        head = _head_decoder.decode(raw)
        served.append(Served(head.seq, head.type, bytes(raw)))
    return served


def last_event(payload: bytes) -> RunEvent | None:
    """The last event of a payload; None when it is of an unknown type."""
    return _known_event(_raw_decoder.decode(payload).events[-1])
