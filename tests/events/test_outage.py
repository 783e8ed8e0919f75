"""The server goes away and comes back: what callers are told meanwhile, and that nothing needs a new process."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cli.servers import NatsServer
from libs.events.broker import Broker, Msg, Unavailable, connect
from libs.events.log import EventLog, events_of
from libs.events.reads import read_range
from libs.events.subjects import Kind, RunKey
from libs.events.topology import api, converge
from tests.events.runs import completed, requested, said, seqs, write_run
from tests.events.waiting import start_again, until_connected, until_true
from tests.faults.proxy import proxy_to


def ignore() -> None:
    """These servers are meant to be lost."""


@pytest.fixture
async def frail_log(fresh_nats: NatsServer) -> AsyncIterator[EventLog]:
    """The log on a server that the test may hurt."""
    async with connect(fresh_nats.url, "test", ignore) as broker:
        yield EventLog(broker, await converge(broker, 2, replicas=1))


async def test_without_a_server_an_append_fails_within_its_patience(
    frail_log: EventLog, fresh_nats: NatsServer, run: RunKey
) -> None:
    fresh_nats.kill()
    loop = asyncio.get_running_loop()
    begun = loop.time()

    with pytest.raises(Unavailable):
        await frail_log.append(run, Kind.REQUESTED, requested(run), after=0, patience_seconds=0.3)

    assert 0.3 <= loop.time() - begun < 1.0


@pytest.mark.parametrize("end", [NatsServer.stop, NatsServer.kill], ids=["stop", "kill"])
async def test_after_the_server_is_back_everything_stored_is_there_and_appends_go_on(
    frail_log: EventLog, fresh_nats: NatsServer, run: RunKey, end: object
) -> None:
    assert callable(end)
    first = await frail_log.append(run, Kind.REQUESTED, requested(run), after=0)
    await asyncio.to_thread(end, fresh_nats)
    appending = asyncio.create_task(frail_log.append(run, Kind.PROGRESS, said(run, 2), after=first))
    await start_again(fresh_nats)

    second = await appending
    await frail_log.append(run, Kind.ENDED, completed(run, 3), after=second)

    assert seqs(events_of(await frail_log.read(run))) == [1, 2, 3]


async def test_what_could_not_be_sent_is_not_sent_later(
    frail_log: EventLog, fresh_nats: NatsServer, run: RunKey
) -> None:
    broker = frail_log.broker
    heard: list[bytes] = []

    async def listener(message: Msg) -> None:
        heard.append(message.data)

    await broker.subscribe("said", listener)
    fresh_nats.kill()
    await until_connected(broker, False)
    with pytest.raises(Unavailable):
        await broker.publish("said", b"while down")
    with pytest.raises(Unavailable):
        await frail_log.append(run, Kind.REQUESTED, requested(run), after=0, patience_seconds=0)
    await start_again(fresh_nats)
    await until_connected(broker, True)
    await broker.publish("said", b"after")

    await until_true(lambda: bool(heard))
    assert heard == [b"after"]
    assert await frail_log.read(run) == []


async def test_a_request_under_way_fails_as_soon_as_the_connection_breaks(nats_server: NatsServer) -> None:
    async with proxy_to(nats_server.port) as proxy, connect(proxy.url, "test", ignore) as broker:
        proxy.stall_answers()
        asking = asyncio.create_task(broker.request("$JS.API.INFO", timeout=60))
        await until_true(lambda: broker.client.stats["out_msgs"] > 0)
        proxy.drop()

        with pytest.raises(Unavailable):
            async with asyncio.timeout(5):
                await asking


async def test_a_request_that_nobody_answers_fails_after_its_time(broker: Broker) -> None:
    async def silent(message: Msg) -> None:
        pass

    await broker.subscribe("silent.subject", silent)
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async with asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await broker.request("silent.subject", timeout=0.2)

    assert 0.2 <= loop.time() - begun < 1.0


async def test_a_server_that_stopped_reading_does_not_hold_the_client(nats_server: NatsServer, run: RunKey) -> None:
    async with proxy_to(nats_server.port) as proxy, connect(proxy.url, "test", ignore) as broker:
        proxy.stall()
        for _ in range(40):
            await broker.publish("anything", bytes(1024 * 1024))
        await until_true(lambda: broker.client.pending_data_size == 0)
        await broker.client.force_reconnect()
        await until_connected(broker, False)

        await until_connected(broker, True)
        assert (await broker.request("$JS.API.INFO")).data


async def test_a_log_that_cannot_be_read_is_not_an_empty_log(broker: Broker, log: EventLog, run: RunKey) -> None:
    gone = EventLog(broker, shards=1000)
    run = RunKey(run.workspace, "run_in_a_stream_that_is_missing")

    with pytest.raises(Unavailable):
        await read_range(broker, gone.stream(run), gone.subject(run, "*"), 1)
    with pytest.raises(Unavailable):
        await gone.read(run)
    with pytest.raises(Unavailable):
        await gone.last(run)


async def test_connecting_waits_for_a_server(fresh_nats: NatsServer) -> None:
    fresh_nats.kill()

    async def connected() -> bytes:
        async with connect(fresh_nats.url, "test", ignore) as broker:
            return (await broker.request("$JS.API.INFO")).data

    connecting = asyncio.create_task(connected())
    await start_again(fresh_nats)

    assert b"limits" in await connecting


async def test_what_was_acknowledged_survives_a_crash(frail_log: EventLog, fresh_nats: NatsServer, run: RunKey) -> None:
    events = await write_run(frail_log, run, words=50)
    for _ in range(2):
        fresh_nats.kill()
        await start_again(fresh_nats)

    await until_connected(frail_log.broker, True)
    assert seqs(events_of(await frail_log.read(run))) == list(range(1, events + 1))
    assert await converge(frail_log.broker, 2, replicas=1) == 2
    info = await api(frail_log.broker, f"STREAM.INFO.{frail_log.stream(run)}", {}, dict)
    assert info["state"]["messages"] == events


async def test_a_connection_is_up_again_only_when_those_who_asked_to_know_were_told(nats_server: NatsServer) -> None:
    told = []
    async with (
        proxy_to(nats_server.port) as proxy,
        connect(proxy.url, "test", ignore) as broker,
        asyncio.timeout(15),
    ):
        broker.on_reconnect(lambda: told.append(broker.connected))
        proxy.drop()
        await until_connected(broker, False)
        while not broker.connected:  # noqa: ASYNC110 - the moment itself, to a turn of the loop
            await asyncio.sleep(0)
        assert told == [False]
