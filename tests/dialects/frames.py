"""Readers of streams: Server-Sent Events by the published rules, as the libraries that FlowAI names read them, and the
one-object-a-frame stream of Langflow's server as its own clients read it.
"""

import json
from collections.abc import Iterable
from typing import Any

import msgspec


class Event(msgspec.Struct, frozen=True):
    """One event: its type, and its data as JSON."""

    type: str
    data: Any


def read_events(stream: str) -> list[Event]:
    """WHATWG HTML, 9.2.6: fields by line, one space after the colon is dropped, a blank line ends an event."""
    events: list[Event] = []
    kind, data = "message", list[str]()
    for line in stream.splitlines():
        if not line:
            if data:
                events.append(Event(kind, json.loads("\n".join(data))))
            kind, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            kind = value
        elif field == "data":
            data.append(value)
    return events


def read_objects(stream: str) -> list[Event]:
    """One JSON object a frame, a blank line after it; lines that hold nothing are passed over."""
    assert stream.endswith("\n\n")
    found = [json.loads(line) for line in stream.split("\n\n") if line.strip()]
    assert all(set(each) == {"event", "data"} for each in found), found
    return [Event(each["event"], each["data"]) for each in found]


def joined(events: Iterable[Event]) -> list[Event]:
    """The same with neighbouring `stream` events as one: how finely an answer is cut is the model's affair."""
    whole: list[Event] = []
    for event in events:
        if event.type == "stream" and whole and whole[-1].type == "stream":
            before = whole.pop().data
            event = Event("stream", {**event.data, "Content": before["Content"] + event.data["Content"]})
        whole.append(event)
    return whole
