"""A stream has the same frames wherever the network cuts it, and however its lines end."""

from base64 import b64encode

import pytest

from tests.clients.node import Node
from tests.clients.wire import frame

Frames = list[dict[str, str]]

TEXT = (
    b": comment\n\nevent: only a type\n\ndata: a\ndata:  b\nunknown: x\ndata\n\nid: 7\n\ndata:c\n\n"
    + frame(8, "k", {"text": "Gr\u00fc\u00dfe \U0001f30d"})
    + b"data: not closed\n"
)


def cut_anywhere(whole: bytes) -> list[list[bytes]]:
    """In two at each place, and in single bytes."""
    return [*([whole[:at], whole[at:]] for at in range(len(whole))), [bytes([byte]) for byte in whole]]


def in_python(pieces: list[bytes]) -> Frames:
    from headgate_client.sse import FrameReader

    reader = FrameReader()
    return [{"id": found.id, "data": found.data} for piece in pieces for found in reader.feed(piece)]


async def in_node(node: Node, cuts: list[list[bytes]]) -> list[Frames]:
    told = await node.ask({"frames": [[b64encode(piece).decode() for piece in pieces] for pieces in cuts]})
    found: list[Frames] = told["result"]
    return found


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("language", ["python", "node"])
async def test_frames_are_the_same_however_they_come(node: Node, language: str, ends: bytes) -> None:
    cuts = cut_anywhere(TEXT.replace(b"\n", ends))
    read = await in_node(node, cuts) if language == "node" else [in_python(pieces) for pieces in cuts]
    data = TEXT.decode().split("data: ")[-2].strip()
    expected = [{"id": "", "data": "a\n b\n"}, {"id": "7", "data": "c"}, {"id": "8", "data": data}]
    assert [found for found in read if found != expected] == []
