"""Server-sent events, as the HTML standard defines their parsing (section 9.2.6, "Interpreting an event
stream").
"""

from collections.abc import AsyncIterable, AsyncIterator

import msgspec

_LONGEST_LINE_BYTES = 64 * 1024 * 1024


class SseEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One dispatched event; `id` is the last one seen on the stream, for `Last-Event-ID`."""

    id: str
    type: str
    data: str


class StreamTooWideError(Exception):
    """A line of the stream is longer than any event may be."""


async def read_events(chunks: AsyncIterable[bytes]) -> AsyncIterator[SseEvent]:
    """The events in `chunks`, cut anywhere; an event not closed by an empty line is dropped, as the standard
    says.
    """
    last_id, kind, data = "", "", list[str]()
    async for line in _lines(chunks):
        if line == "":
            if data:
                yield SseEvent(id=last_id, type=kind or "message", data="\n".join(data))
            kind, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                data.append(value)
            case "event":
                kind = value
            case "id" if "\0" not in value:
                last_id = value


async def _lines(chunks: AsyncIterable[bytes]) -> AsyncIterator[str]:
    """Lines ended by LF, CR LF or CR; a CR at the end of a chunk waits for its LF."""
    pending = b""
    async for chunk in chunks:
        pending += chunk
        held = b"\r" if pending.endswith(b"\r") else b""
        whole = pending[: len(pending) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = whole.split(b"\n")
        pending = rest + held
        if len(pending) > _LONGEST_LINE_BYTES:
            raise StreamTooWideError
        for line in lines:
            yield line.decode("utf-8", "replace")
