"""Reading a stream for ever: in order, from a place, through faults."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from cli.servers import NatsServer
from libs.events.batch_pull import BatchPull
from libs.events.broker import Broker, connect
from libs.events.log import EventLog
from libs.events.managed import decode_change, record
from libs.events.pull import Delivery, Lost, read_delivery
from libs.events.subjects import MANAGEMENT, managed_subject
from libs.events.tail import Tail
from libs.events.topology import converge
from libs.events.wire import Heard
from tests.events.managed import flow_changed
from tests.events.waiting import start_again, until_true
from tests.faults.proxy import proxy_to


def ignore() -> None:
    """These connections are meant to be lost."""


class Seen:
    """What a tail handed on: each batch, and the versions in it."""

    def __init__(self) -> None:
        self.batches: list[list[Delivery]] = []

    async def __call__(self, batch: Sequence[Delivery]) -> None:
        self.batches.append(list(batch))

    @property
    def deliveries(self) -> list[Delivery]:
        return [delivery for batch in self.batches for delivery in batch]

    @property
    def states(self) -> list[tuple[str, int]]:
        changes = [decode_change(delivery.payload) for delivery in self.deliveries]
        return [(change.state.id, change.state.version) for change in changes]  # type: ignore[union-attr]

    async def until(self, count: int) -> None:
        await until_true(lambda: len(self.deliveries) >= count)


@asynccontextmanager
async def reading(tail: Tail) -> AsyncIterator[Tail]:
    """The tail while it reads."""
    task = asyncio.create_task(tail.run())
    try:
        yield tail
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def tail_of(broker: Broker, workspace: str, seen: Seen, after: int = 0, latest_only: bool = False) -> Tail:
    return Tail(broker, MANAGEMENT, [f"mgt.{workspace}.flow.*"], seen, after=after, latest_only=latest_only)


async def save(broker: Broker, workspace: str, flow: str, versions: Sequence[int]) -> list[int]:
    """Record one version after the other; answers their stream sequences."""
    subject, sequences, after = managed_subject(workspace, "flow", flow), [], 0
    for version in versions:
        after = await record(broker, subject, flow_changed(workspace, flow, version), after=after)
        sequences.append(after)
    return sequences


async def test_what_was_there_and_what_comes_is_read_in_order(log: EventLog, workspace: str) -> None:
    seen = Seen()
    sequences = await save(log.broker, workspace, "a", range(1, 1201))
    async with reading(tail_of(log.broker, workspace, seen)) as tail:
        await seen.until(1200)
        sequences += await save(log.broker, workspace, "b", range(1, 4))
        await seen.until(1203)
        await until_true(lambda: tail.position == sequences[-1])

    assert [delivery.sequence for delivery in seen.deliveries] == sequences
    assert seen.states == [*(("a", n) for n in range(1, 1201)), ("b", 1), ("b", 2), ("b", 3)]
    assert max(len(batch) for batch in seen.batches) > 50
    assert all(len(batch) <= 512 for batch in seen.batches)


async def test_reading_goes_on_after_a_position(log: EventLog, workspace: str) -> None:
    seen = Seen()
    sequences = await save(log.broker, workspace, "a", range(1, 11))
    async with reading(tail_of(log.broker, workspace, seen, after=sequences[6])) as tail:
        await tail.caught_up.wait()

    assert [version for _, version in seen.states] == [8, 9, 10]
    assert tail.position == sequences[-1]


async def test_of_each_thing_only_the_last_state_is_read_at_first(log: EventLog, workspace: str) -> None:
    seen = Seen()
    await save(log.broker, workspace, "a", range(1, 6))
    await save(log.broker, workspace, "b", range(1, 4))
    async with reading(tail_of(log.broker, workspace, seen, latest_only=True)) as tail:
        await tail.caught_up.wait()
        assert seen.states == [("a", 5), ("b", 3)]
        await save(log.broker, workspace, "c", range(1, 4))
        await seen.until(5)

    assert seen.states == [("a", 5), ("b", 3), ("c", 1), ("c", 2), ("c", 3)]


@pytest.mark.parametrize("latest_only", [False, True])
async def test_an_empty_stream_is_caught_up_with_at_once(log: EventLog, workspace: str, latest_only: bool) -> None:
    seen = Seen()
    async with (
        asyncio.timeout(2),
        reading(tail_of(log.broker, workspace, seen, latest_only=latest_only)) as tail,
    ):
        await tail.caught_up.wait()

    assert seen.batches == []


async def test_catching_up_is_told_only_after_all_that_was_there_is_handled(log: EventLog, workspace: str) -> None:
    handled = 0
    go = asyncio.Event()

    async def slow(batch: Sequence[Delivery]) -> None:
        nonlocal handled
        await go.wait()
        handled += len(batch)

    await save(log.broker, workspace, "a", range(1, 701))
    tail = Tail(log.broker, MANAGEMENT, [f"mgt.{workspace}.flow.*"], slow)
    async with reading(tail):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await tail.caught_up.wait()
        go.set()
        await tail.caught_up.wait()
        assert handled == 700


async def test_a_message_lost_at_the_end_of_a_batch_is_missed_though_none_follows(
    log: EventLog, workspace: str
) -> None:
    await save(log.broker, workspace, "a", [1, 2])
    consumer = await tail_of(log.broker, workspace, Seen())._make_consumer()
    pull = BatchPull(log.broker, MANAGEMENT, consumer.name)

    def lossy(message: Heard) -> None:
        if message.has_status or read_delivery(message).consumer_sequence != 2:
            pull.heard(message)

    subscription = await log.broker.hear(f"{pull.inbox}.*", lossy)
    async with asyncio.timeout(5):
        assert [delivery.consumer_sequence for delivery in await pull.next()] == [1]
        with pytest.raises(Lost, match="a delivery was lost"):
            await pull.next()
    await log.broker.unsubscribe(subscription)


async def test_what_a_reader_raises_ends_the_reading(log: EventLog, workspace: str) -> None:
    async def broken(_: Sequence[Delivery]) -> None:
        raise ZeroDivisionError

    await save(log.broker, workspace, "a", [1])
    tail = Tail(log.broker, MANAGEMENT, [f"mgt.{workspace}.flow.*"], broken)

    async with asyncio.timeout(5):
        with pytest.raises(ZeroDivisionError):
            await tail.run()
    assert tail.position == 0


async def test_a_delivery_that_is_lost_on_the_way_is_read_again(
    nats_server: NatsServer, log: EventLog, workspace: str
) -> None:
    """The connection stands, so nothing tells of it but the gap in the count."""
    seen = Seen()
    async with (
        proxy_to(nats_server.port) as proxy,
        connect(proxy.url, "far", ignore) as far,
        reading(tail_of(far, workspace, seen)),
    ):
        await save(log.broker, workspace, "a", [1, 2])
        await seen.until(2)
        proxy.lose_answers()
        await save(log.broker, workspace, "b", [1])
        await until_true(lambda: proxy.lost_bytes > 0)
        proxy.resume()
        await save(log.broker, workspace, "c", [1])
        await seen.until(4)

    assert seen.states == [("a", 1), ("a", 2), ("b", 1), ("c", 1)]


async def test_nothing_is_missed_or_repeated_when_the_connection_breaks(
    nats_server: NatsServer, log: EventLog, workspace: str
) -> None:
    seen = Seen()
    async with (
        proxy_to(nats_server.port) as proxy,
        connect(proxy.url, "far", ignore) as far,
        reading(tail_of(far, workspace, seen)),
    ):
        saving = asyncio.create_task(save(log.broker, workspace, "a", range(1, 601)))
        for count in (100, 300):
            await seen.until(count)
            proxy.drop()
        await saving
        await seen.until(600)

    assert [version for _, version in seen.states] == list(range(1, 601))


@pytest.mark.parametrize("end", [NatsServer.stop, NatsServer.kill], ids=["stop", "kill"])
async def test_nothing_is_missed_or_repeated_when_the_server_restarts(
    fresh_nats: NatsServer, workspace: str, end: object
) -> None:
    assert callable(end)
    seen = Seen()
    async with connect(fresh_nats.url, "test", ignore) as broker:
        await converge(broker, 1, replicas=1)
        async with reading(tail_of(broker, workspace, seen, latest_only=True)) as tail:
            await tail.caught_up.wait()
            saving = asyncio.create_task(save(broker, workspace, "a", range(1, 401)))
            await seen.until(100)
            await asyncio.to_thread(end, fresh_nats)
            await start_again(fresh_nats)
            sequences = await saving
            await until_true(lambda: seen.deliveries[-1].sequence == sequences[-1])

    assert [version for _, version in seen.states] == list(range(1, 401))
