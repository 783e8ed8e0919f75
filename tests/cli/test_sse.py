"""Server-sent events, read as the standard says, however the bytes are cut."""

from collections.abc import AsyncIterator
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cli.sse import SseEvent, read_events

STREAM = (
    ": a comment\r\n\r\nretry: 2000\r\n\r\n"
    'id: 1\r\nevent: node.delta\r\ndata: {"a":\r\ndata:  1}\r\n\r\n'
    "data: without a type – ü\n\n"
    "event: nothing\n\n"
    "id: 3\rdata:no space\r\r"
    "data: never finished"
).encode()
EVENTS = [
    SseEvent(id="1", type="node.delta", data='{"a":\n 1}'),
    SseEvent(id="1", type="message", data="without a type – ü"),
    SseEvent(id="3", type="message", data="no space"),
]


async def read(chunks: list[bytes]) -> list[SseEvent]:
    async def arriving() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [event async for event in read_events(arriving())]


async def test_a_stream_is_read_as_the_standard_says() -> None:
    assert await read([STREAM, b"\n"]) == EVENTS


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
async def test_where_the_bytes_are_cut_does_not_matter(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[start:end] for start, end in pairwise(edges)]
    assert await read([*chunks, b"\n"]) == EVENTS
