"""From messages of the log to entries of the audit: who did what, when, from which address. Pure.

A run's message has an entry for each of its events, a managed thing's message one with its whole new state. What an
entry shows is what was stored, but for the members of a state that are secrets: the hashes of keys.
"""

from datetime import datetime
from typing import Any

import msgspec

from libs.events.groups import Part, parts_of
from libs.events.subjects import Kind, parse_managed_subject

_HIDDEN = frozenset({"secrets", "secret", "signing_secret", "signing_generation"})
"""Members of states that are never shown, whatever the thing."""


class Message(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message of the log as it was read."""

    source: int
    """Which of the streams that are read it lies in."""
    sequence: int
    stored_at: datetime
    subject: str
    payload: bytes
    follows: int
    """The sequence of the message that it was appended after; 0: it is the first of its run or thing."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One fact. `by` is a key's id (or a service's name, for what a service did), `address` where it called from.

    `at` is when it happened by the clock of the process that says so, `stored_at` when the log took it. `position`
    is where to go on after it. Facts about runs have `run_id`, `seq`, `data` and perhaps `node`; the others have
    `entity_id`, the id of the thing (of a slug: the slug), and its `state` since then.
    """

    position: str
    at: datetime
    stored_at: datetime
    type: str
    workspace: str
    by: str
    address: str | None = None
    run_id: str | None = None
    seq: int | None = None
    node: str | None = None
    data: Any = msgspec.UNSET
    entity_id: str | None = None
    state: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries: `type` is a whole type (`key.rotated`) or its noun (`key`)."""

    since: datetime | None = None
    until: datetime | None = None
    type: str | None = None
    by: str | None = None
    run_id: str | None = None

    def takes(self, entry: Entry) -> bool:
        """Whether the entry is wanted."""
        return (
            (self.since is None or entry.at >= self.since)
            and (self.until is None or entry.at < self.until)
            and (self.type is None or entry.type == self.type or entry.type.startswith(f"{self.type}."))
            and (self.by is None or entry.by == self.by)
            and (self.run_id is None or entry.run_id == self.run_id)
        )


class _Event(msgspec.Struct, frozen=True):
    type: str
    seq: int
    run_id: str
    at: datetime
    data: msgspec.Raw
    node: str | None = None


class _Append(msgspec.Struct, frozen=True):
    by: str
    events: list[_Event]
    address: str | None = None


class _Change(msgspec.Struct, frozen=True):
    type: str
    at: datetime
    by: str
    state: dict[str, Any]
    address: str | None = None


_append_decoder = msgspec.json.Decoder(_Append)
_change_decoder = msgspec.json.Decoder(_Change)


def entries_of(message: Message) -> list[Entry]:
    """The entries of a message, in order, their positions still empty."""
    if message.subject.startswith("evt."):
        return _run_entries(message)
    return [_managed_entry(message)]


def _run_entries(message: Message) -> list[Entry]:
    entries: list[Entry] = []
    for part in parts_of(message.subject, message.payload):
        if part.kind is Kind.REQUESTED and message.follows:
            # A run that waited for a slot and was asked for then: in the words of its first message, which was told.
            continue
        entries += _part_entries(message, part)
    return entries


def _part_entries(message: Message, part: Part) -> list[Entry]:
    append = _append_decoder.decode(part.payload)
    return [
        Entry(
            position="",
            at=event.at,
            stored_at=message.stored_at,
            type=event.type,
            workspace=part.run.workspace,
            by=append.by,
            address=append.address,
            run_id=event.run_id,
            seq=event.seq,
            node=event.node,
            data=event.data,
        )
        for event in append.events
    ]


def _managed_entry(message: Message) -> Entry:
    workspace, _, entity_id = parse_managed_subject(message.subject)
    change = _change_decoder.decode(message.payload)
    return Entry(
        position="",
        at=change.at,
        stored_at=message.stored_at,
        type=change.type,
        workspace=workspace,
        by=change.by,
        address=change.address,
        entity_id=entity_id,
        state={name: value for name, value in change.state.items() if name not in _HIDDEN},
    )
