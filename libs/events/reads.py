"""Reading the log's streams: one message or many, from whichever replica has them, or from the leader alone.

A direct get is answered by any replica, and one of them may be behind: what it has is true, for messages never change,
and what it lacks may be there. So in a cluster "there is none" is said only by the stream's leader, and only by one
that the others follow: a leader that was cut off goes on answering for some seconds, also after it came back, while
another one is already chosen. Whether it is followed and what it has must be in one answer, for the next one may be
the other leader's.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from libs.events.broker import Broker, Unavailable
from libs.events.topology import api
from libs.events.wire import Heard

BATCH, BATCH_BYTES = 512, 16 * 1024 * 1024

_NO_MESSAGE = 10037
_LEADS_NS = 3_000_000_000
_INFO_SECONDS = 2.0


class Stored(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message of the log: its place in its stream, its subject, its payload as it was sent."""

    sequence: int
    subject: str
    payload: bytes


class Refusal(msgspec.Struct, frozen=True):
    """The error of an answer about a stream."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class _RawMessage(msgspec.Struct, frozen=True):
    seq: int
    subject: str
    data: bytes = b""


class _Peer(msgspec.Struct, frozen=True):
    name: str = ""
    active: int = 0
    """Nanoseconds since it was heard of."""


class _Peers(msgspec.Struct, frozen=True):
    leader: str = ""
    replicas: list[_Peer] = []


class _Contents(msgspec.Struct, frozen=True):
    subjects: dict[str, int] | None = None


class _StreamInfo(msgspec.Struct, frozen=True):
    cluster: _Peers = _Peers()
    state: _Contents = _Contents()
    error: Refusal | None = None


class _GetAnswer(msgspec.Struct, frozen=True):
    message: _RawMessage | None = None
    error: Refusal | None = None


async def only_message(broker: Broker, stream: str, subject: str) -> Stored | None:
    """The message on a subject that never gets a second one, from whichever replica has it."""
    found = stored(await broker.request(f"$JS.API.DIRECT.GET.{stream}.{subject}"))
    return found or await confirmed_none(broker, stream, subject)


async def confirmed_none(broker: Broker, stream: str, *subjects: str) -> Stored | None:
    """None when the stream's leader has nothing on any of the subjects either; else what a replica did not have yet.

    Errors as `counts`. Without replicas nothing is asked.
    """
    if not broker.replicated:
        return None
    for subject in subjects:
        if not await counts(broker, stream, subject):
            continue
        if (found := await last_message(broker, stream, subject)) is None:
            raise Unavailable("the event log's leader has less than it said")
        return found
    return None


async def counts(broker: Broker, stream: str, subject: str) -> dict[str, int]:
    """How many messages the stream has on a subject, or on each that fits its wildcards, as its leader says.

    Unavailable from a leader that has not heard of most others for a while: there may be another one by now. Each waits
    at least four seconds before it would follow or become another leader.
    """
    asked = {"subjects_filter": subject}
    info = await api(broker, f"STREAM.INFO.{stream}", asked, _StreamInfo, timeout=_INFO_SECONDS)
    if info.error is not None:
        raise Unavailable(f"the event log could not be read: {info.error.description}")
    if not _is_followed(info.cluster):
        raise Unavailable("the event log's leader is cut off, or was just now")
    return info.state.subjects or {}


def _is_followed(cluster: _Peers) -> bool:
    """Whether who answers leads, with a majority.

    One that was cut off answers for a second after it came back and follows: then the leader is among the others.
    """
    others = cluster.replicas
    following = sum(1 for other in others if other.active < _LEADS_NS)
    leads = not others or cluster.leader not in {"", *[other.name for other in others]}
    return leads and 2 * (following + 1) > len(others) + 1


async def last_message(broker: Broker, stream: str, subject: str) -> Stored | None:
    """The last message on a subject (wildcards allowed), as its leader has it: what an append must follow."""
    return await ask_leader(broker, stream, {"last_by_subj": subject})


async def ask_leader(broker: Broker, stream: str, wanted: dict[str, object]) -> Stored | None:
    """One message as the leader has it: `wanted` is the body of STREAM.MSG.GET."""
    answer = await broker.request(f"$JS.API.STREAM.MSG.GET.{stream}", msgspec.json.encode(wanted))
    found = msgspec.json.decode(answer.data, type=_GetAnswer)
    if found.message is not None:
        return Stored(sequence=found.message.seq, subject=found.message.subject, payload=found.message.data)
    if found.error is not None and found.error.err_code != _NO_MESSAGE:
        raise Unavailable(f"the event log could not be read: {found.error.description}")
    return None


async def read_range(broker: Broker, stream: str, subject: str, sequence: int) -> list[Stored]:
    """All messages on `subject` from stream sequence `sequence` on, asked for in batches.

    Unavailable when a message of a batch did not arrive, or not in its place: what was read with a gap would be taken
    for the truth, and nodes that have finished would be run again.
    """
    found: list[Stored] = []
    more = BATCH
    while more:
        part, more = await read_part(broker, stream, subject, sequence, BATCH, BATCH_BYTES)
        found += part
        sequence = found[-1].sequence + 1 if found else sequence
    return found


async def read_part(
    broker: Broker, stream: str, subject: str, sequence: int, messages: int, size: int, timeout: float = 5.0
) -> tuple[list[Stored], int]:
    """The first of `read_range`: up to `messages` of them, or about `size` bytes; and how many more there are.

    Asking for more than there are has the server look through all that came later.
    """
    wanted = {"seq": sequence, "next_by_subj": subject, "batch": messages, "max_bytes": size}
    *found, status = await broker.request_many(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(wanted), timeout)
    headers = status.headers
    if headers.get("Status") == "404":
        return [], 0
    if headers.get("Status") != "204" or not found:
        raise Unavailable(f"the event log could not be read: {headers.get('Description', 'no reason')}")
    _require_unbroken(found, status)
    page = [message for message in map(stored, found) if message is not None]
    return page, int(headers.get("Nats-Num-Pending", "0"))


async def newest_message(broker: Broker, stream: str, subject: str, timeout: float) -> Stored | None:
    """The last message on a subject (wildcards allowed), from whichever replica answers."""
    body = msgspec.json.encode({"last_by_subj": subject})
    return stored(await broker.request(f"$JS.API.DIRECT.GET.{stream}", body, timeout=timeout))


async def read_page(
    broker: Broker, stream: str, subject: str, *, sequence: int, since: datetime, batch: int
) -> list[Stored]:
    """Up to `batch` messages on `subject` from stream sequence `sequence` on; 0: from those stored at `since` on."""
    wanted: dict[str, object] = {"next_by_subj": subject, "batch": batch, "max_bytes": BATCH_BYTES}
    if sequence:
        wanted["seq"] = sequence
    else:
        wanted["start_time"] = since.astimezone(UTC).isoformat()
    *messages, status = await broker.request_many(f"$JS.API.DIRECT.GET.{stream}", msgspec.json.encode(wanted))
    if status.headers.get("Status") not in ("204", "404"):
        reason = status.headers.get("Description", "no reason")
        raise Unavailable(f"the event log could not be read: {reason}")
    if messages:
        _require_unbroken(messages, status)
    return [message for message in map(stored, messages) if message is not None]


def _require_unbroken(messages: Sequence[Heard], status: Heard) -> None:
    """Unavailable unless each answer of a batch, and its end, names the one before it."""
    last = "0"
    for message in (*messages, status):
        if message.headers.get("Nats-Last-Sequence") != last:
            raise Unavailable("a part of what was read from the event log was lost on the way")
        last = message.headers.get("Nats-Sequence", "")


def stored(message: Heard) -> Stored | None:
    """A direct get's answer; None when it says that there is no such message."""
    headers = message.headers
    if "Nats-Sequence" not in headers:
        if headers.get("Status") == "404":
            return None
        raise Unavailable(f"the event log could not be read: {headers.get('Description', 'no reason')}")
    return Stored(sequence=int(headers["Nats-Sequence"]), subject=headers["Nats-Subject"], payload=message.data)
