"""Appends whose acknowledgement does not come back: stored once, and the writer learns it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cli.servers import NatsServer
from libs.events.appends import Conflict
from libs.events.broker import Unavailable, connect
from libs.events.log import EventLog, events_of
from libs.events.run_events import Append, encode_append
from libs.events.subjects import Kind, RunKey
from tests.events.runs import completed, requested, said, seqs
from tests.events.waiting import until
from tests.faults.proxy import Proxy, proxy_to


@pytest.fixture
async def proxy(nats_server: NatsServer) -> AsyncIterator[Proxy]:
    async with proxy_to(nats_server.port) as between:
        yield between


@pytest.fixture
async def far_log(proxy: Proxy, log: EventLog) -> AsyncIterator[EventLog]:
    """The same log, reached through the proxy."""
    async with connect(proxy.url, "far", lambda: None) as broker:
        yield EventLog(broker, log.shards)


async def stored(log: EventLog, run: RunKey, append: Append) -> None:
    """Return once the run's last message is this append."""
    payload = encode_append(append)

    async def is_last() -> bool:
        last = await log.last(run)
        return last is not None and last.payload == payload

    await until(is_last)


async def test_an_append_whose_connection_broke_before_the_acknowledgement_is_stored_once(
    far_log: EventLog, log: EventLog, run: RunKey, proxy: Proxy
) -> None:
    first = await far_log.append(run, Kind.REQUESTED, requested(run), after=0)
    proxy.stall_answers()
    appending = asyncio.create_task(far_log.append(run, Kind.PROGRESS, said(run, 2, 3), after=first))
    await stored(log, run, said(run, 2, 3))
    proxy.drop()

    sequence = await appending

    messages = await log.read(run)
    assert [message.sequence for message in messages] == [first, sequence]
    assert seqs(events_of(messages)) == [1, 2, 3]
    assert await far_log.append(run, Kind.ENDED, completed(run, 4), after=sequence) > sequence


async def test_an_append_that_was_acknowledged_too_late_is_stored_once(
    far_log: EventLog, log: EventLog, run: RunKey, proxy: Proxy
) -> None:
    proxy.stall_answers()
    appending = asyncio.create_task(far_log.append(run, Kind.REQUESTED, requested(run), after=0))
    await stored(log, run, requested(run))

    async def was_sent_again() -> bool:
        return far_log.broker.client.stats["out_msgs"] >= 2

    await until(was_sent_again)
    proxy.resume()

    sequence = await appending

    assert [message.sequence for message in await log.read(run)] == [sequence]


async def test_a_rival_that_went_on_after_the_lost_acknowledgement_is_a_conflict(
    far_log: EventLog, log: EventLog, run: RunKey, proxy: Proxy
) -> None:
    first = await far_log.append(run, Kind.REQUESTED, requested(run), after=0)
    proxy.stall_answers()
    appending = asyncio.create_task(far_log.append(run, Kind.PROGRESS, said(run, 2), after=first))
    await stored(log, run, said(run, 2))
    last = await log.last(run)
    assert last is not None
    await log.append(run, Kind.PROGRESS, said(run, 3, by="rival"), after=last.sequence)
    proxy.drop()

    with pytest.raises(Conflict) as conflict:
        await appending

    assert conflict.value.last.payload == encode_append(said(run, 3, by="rival"))
    assert seqs(events_of(await log.read(run))) == [1, 2, 3]


async def test_a_request_that_was_picked_up_before_its_acknowledgement_was_lost_is_accepted(
    far_log: EventLog, log: EventLog, run: RunKey, proxy: Proxy
) -> None:
    proxy.stall_answers()
    appending = asyncio.create_task(far_log.append(run, Kind.REQUESTED, requested(run), after=0))
    await stored(log, run, requested(run))
    first = await log.first(run)
    assert first is not None
    await log.append(run, Kind.PROGRESS, said(run, 2), after=first.sequence)
    proxy.drop()

    assert await appending == first.sequence


async def test_an_append_that_nobody_answers_gives_up_when_its_patience_ends(
    far_log: EventLog, run: RunKey, proxy: Proxy
) -> None:
    proxy.stall()
    loop = asyncio.get_running_loop()
    begun = loop.time()

    with pytest.raises(Unavailable):
        await far_log.append(run, Kind.REQUESTED, requested(run), after=0, patience_seconds=0.5)

    assert loop.time() - begun < 1.5
