"""Server-sent events as the HTML standard reads them (9.2.6, "Interpreting an event stream"). No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from headgate_client.errors import HeadgateError

_LONGEST_EVENT_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Frame:
    """One dispatched event; `id` is the last one seen on the stream."""

    id: str
    data: str


class FrameReader:
    """Takes the stream in pieces cut anywhere. A frame not closed by an empty line is never given out."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._id = ""
        self._data: list[str] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[Frame]:
        """The frames that this piece completes. HeadgateError `unexpected_answer` past 64 MiB for one."""
        self._size += len(piece)
        if self._size > _LONGEST_EVENT_BYTES:
            raise HeadgateError(200, "unexpected_answer", "an event of the stream is longer than any may be")
        self._pieces.append(piece)
        if b"\n" not in piece and b"\r" not in piece:
            return []  # joined once, when its line ends: long lines come in many pieces
        pending = b"".join(self._pieces)
        held = b"\r" if pending.endswith(b"\r") else b""  # its LF may be in the next piece
        whole = pending[: len(pending) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = whole.split(b"\n")
        self._pieces = [rest + held]
        return [frame for line in lines if (frame := self._line(line.decode("utf-8", "replace"))) is not None]

    def _line(self, line: str) -> Frame | None:
        if line == "":
            frame = Frame(id=self._id, data="\n".join(self._data)) if self._data else None
            self._data, self._size = [], 0
            return frame
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        return None
