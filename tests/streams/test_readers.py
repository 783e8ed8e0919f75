"""Readers that do not read, or slowly, or in an older HTTP: none costs the others anything or loses an event."""

import asyncio
from contextlib import AsyncExitStack, suppress

from libs.events.log import EventLog
from libs.events.subjects import Kind, RunKey
from tests.e2e.wire import Wire, wire
from tests.events.runs import completed, requested, said
from tests.streams.conftest import HEADERS
from tests.streams.edge import PATIENCE_SECONDS, Served

SLOW_READERS = 24
APPENDS = 400
TEXT = "word" * 6_000
"""A fast model: 24 kB an event, some ten megabytes in all."""


async def _speak(log: EventLog, run: RunKey, after: int, appends: int = APPENDS) -> None:
    for seq in range(2, appends + 2):
        after = await log.append(run, Kind.PROGRESS, said(run, seq, text=TEXT), after=after)
    await log.append(run, Kind.ENDED, completed(run, appends + 2), after=after)


async def _gone(reader: Wire) -> None:
    """Read what was on its way when the server gave the connection up."""
    with suppress(ConnectionError):
        while await reader._more(1 << 20):
            pass
    assert not reader.raw.endswith(b"0\r\n\r\n"), "the stream came to its end"


async def test_readers_that_do_not_read_are_dropped_at_no_cost_and_resume_without_loss(
    edge: Served, log: EventLog, run: RunKey
) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    url = f"{edge.url}/v1/runs/{run.run_id}/events"
    async with AsyncExitStack() as stack, asyncio.timeout(30):
        readers = [await stack.enter_async_context(wire(url, HEADERS, window=2048)) for _ in range(SLOW_READERS)]
        for reader in readers:
            await reader.read_until("run.requested")
        before = edge.resident_bytes
        began = asyncio.get_running_loop().time()
        await _speak(log, run, first)
        still_open = edge.metric("headgate_streams_open")
        if asyncio.get_running_loop().time() - began < PATIENCE_SECONDS:  # a busy machine speaks for longer
            assert still_open == SLOW_READERS
        assert edge.unsent_bytes[-1] < 200_000
        grown = edge.resident_bytes - before
        while edge.metric("headgate_streams_dropped_total") < SLOW_READERS:
            grown = max(grown, edge.resident_bytes - before)
        # Each may hold a page of the log and two buffers of 64 KiB.
        assert grown < SLOW_READERS * 400_000
        await asyncio.gather(*map(_gone, readers))
        assert edge.metric("headgate_streams_open") == 0

        seen = readers[0].events
        async with wire(url, HEADERS, after=str(seen[-1]["seq"])) as rest:
            await rest.read_all()
        assert [event["seq"] for event in [*seen, *rest.events]] == list(range(1, APPENDS + 3))


async def test_a_reader_that_does_not_read_keeps_no_other_waiting(edge: Served, log: EventLog, run: RunKey) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    url = f"{edge.url}/v1/runs/{run.run_id}/events"
    async with asyncio.timeout(20), wire(url, HEADERS, window=2048) as stuck, wire(url, HEADERS) as reader:
        await stuck.read_until("run.requested")
        await asyncio.gather(_speak(log, run, first, appends=20), reader.read_all())
        assert edge.metric("headgate_streams_dropped_total") == 0  # the other had all of it before
        assert reader.events[-1]["type"] == "run.completed"


async def test_a_reader_that_is_slow_but_reads_gets_everything(edge: Served, log: EventLog, run: RunKey) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    url = f"{edge.url}/v1/runs/{run.run_id}/events"
    async with asyncio.timeout(20), wire(url, HEADERS, window=65_536) as reader, asyncio.TaskGroup() as group:
        speaking = group.create_task(_speak(log, run, first, appends=60))
        began = asyncio.get_running_loop().time()
        while not reader.raw.endswith(b"0\r\n\r\n"):
            await asyncio.sleep(0.04)
            assert await reader._more(32_768), "the stream broke off"
        assert speaking.done()
        # In all it took longer than one write may.
        assert asyncio.get_running_loop().time() - began > PATIENCE_SECONDS
    assert [event["seq"] for event in reader.events] == list(range(1, 63))


async def test_a_proxy_that_speaks_http_1_0_gets_the_events_as_they_come_and_then_the_end(
    edge: Served, log: EventLog, run: RunKey
) -> None:
    first = await log.append(run, Kind.REQUESTED, requested(run), after=0)
    async with asyncio.timeout(10), wire(f"{edge.url}/v1/runs/{run.run_id}/events", HEADERS, version="1.0") as stream:
        await stream.read_head()
        while b"event: run.requested" not in stream.raw:
            assert await stream._more(65536)
        await log.append(run, Kind.ENDED, completed(run, 2), after=first)
        while await stream._more(65536):
            pass
    head, _, body = stream.raw.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert [line for line in body.splitlines() if line.startswith(b"event:")] == [
        b"event: run.requested",
        b"event: run.completed",
    ]
