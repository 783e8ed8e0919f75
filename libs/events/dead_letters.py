"""What no handler could take, and why: listed, read, and thrown away once somebody has seen to it.

A letter is a message of the stream DEAD_LETTERS, as `worker.bury` writes it: the payload as it came, and in its headers
who could not take it, where it lies in its own stream, and for what reason.
"""

from datetime import datetime

import msgspec

from libs.events.broker import Broker, Unavailable
from libs.events.subjects import DEAD_LETTERS, parse_dead_subject, parse_run_subject
from libs.events.topology import ApiError, api
from libs.events.wire import Heard

_ALL = "dead.>"
_NO_MESSAGE = 10037
_BATCH_BYTES = 4 * 1024 * 1024


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One of them. `workspace` and `run_id` are None where the message is about none."""

    sequence: int
    at: datetime
    consumer: str
    reason: str
    attempts: int
    stream: str
    stream_sequence: int
    subject: str
    payload: bytes
    workspace: str | None
    run_id: str | None


class _About(msgspec.Struct, frozen=True):
    """What the payloads of timers have in common that are about runs and deliveries."""

    workspace: str | None = None
    run_id: str | None = None


class _Done(msgspec.Struct, frozen=True):
    success: bool = False
    error: ApiError | None = None


async def read_letters(broker: Broker, after: int, count: int) -> list[DeadLetter]:
    """Up to `count` letters after a sequence of their stream (0: from the oldest on)."""
    wanted = {"seq": after + 1, "next_by_subj": _ALL, "batch": count, "max_bytes": _BATCH_BYTES}
    call = f"$JS.API.DIRECT.GET.{DEAD_LETTERS}"
    *found, status = await broker.request_many(call, msgspec.json.encode(wanted))
    if status.headers.get("Status") not in ("204", "404"):
        raise Unavailable(f"dead letters cannot be read: {status.headers.get('Description', 'no reason')}")
    return [_letter(message) for message in found]


async def read_letter(broker: Broker, sequence: int) -> DeadLetter | None:
    """One letter; None when there is none of this sequence (any more)."""
    found = await read_letters(broker, sequence - 1, 1)
    return found[0] if found and found[0].sequence == sequence else None


async def throw_away(broker: Broker, sequence: int) -> None:
    """Take a letter off the stream; nothing to do when it is gone."""
    body = {"seq": sequence, "no_erase": True}
    done = await api(broker, f"STREAM.MSG.DELETE.{DEAD_LETTERS}", body, _Done)
    if done.error is not None and done.error.err_code not in (_NO_MESSAGE, 10057):
        raise Unavailable(f"the dead letter stays: {done.error.description}")


def _letter(message: Heard) -> DeadLetter:
    headers = message.headers
    consumer, subject = parse_dead_subject(headers["Nats-Subject"])
    workspace, run_id = _about(subject, message.data)
    return DeadLetter(
        sequence=int(headers["Nats-Sequence"]),
        at=msgspec.convert(headers["Nats-Time-Stamp"], datetime),
        consumer=consumer,
        reason=headers.get("Headgate-Reason", ""),
        attempts=int(headers.get("Headgate-Attempts", "0")),
        stream=headers.get("Headgate-Stream", ""),
        stream_sequence=int(headers.get("Headgate-Sequence", "0")),
        subject=subject,
        payload=message.data,
        workspace=workspace,
        run_id=run_id,
    )


def _about(subject: str, payload: bytes) -> tuple[str | None, str | None]:
    """Which run of which workspace a message is about, by its subject or by what a timer says."""
    try:
        if subject.startswith("evt."):
            run, _ = parse_run_subject(subject)
            return run.workspace, run.run_id
        if subject.startswith("tmr."):
            about = msgspec.json.decode(payload, type=_About)
            return about.workspace or None, about.run_id or None
    except (ValueError, msgspec.MsgspecError, RecursionError):
        pass  # another kind of timer, or what was no message of ours to begin with
    return None, None
