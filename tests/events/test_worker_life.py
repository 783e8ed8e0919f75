"""Workers that stop, die, are slow, share, and lose their connection."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from cli.servers import NatsServer
from libs.events.broker import Msg, connect
from libs.events.log import EventLog
from libs.events.pull import Delivery
from libs.events.subjects import parse_run_subject
from libs.events.topology import converge
from libs.events.worker import Subscription, Worker
from tests.events.waiting import start_again, until, until_true
from tests.events.workers import consumer_state, request_runs, running, subscription, until_settled
from tests.faults.proxy import proxy_to


def ignore() -> None:
    """These connections are meant to be lost."""


class Slow:
    """A handler that says when it begins and ends when it is let go."""

    def __init__(self) -> None:
        self.begun: list[Delivery] = []
        self.ended: list[str] = []
        self.go = asyncio.Event()
        self.most = 0

    async def __call__(self, delivery: Delivery) -> None:
        self.begun.append(delivery)
        self.most = max(self.most, len(self.begun) - len(self.ended))
        await self.go.wait()
        self.ended.append(run_of(delivery))

    async def until_begun(self, count: int) -> None:
        await until_true(lambda: len(self.begun) >= count)


def run_of(delivery: Delivery) -> str:
    return parse_run_subject(delivery.subject)[0].run_id


async def until_nobody_asks(log: EventLog, subscribed: Subscription) -> None:
    """Return once no pull of the consumer stands."""

    async def nobody_asks() -> bool:
        return bool((await consumer_state(log.broker, subscribed))["num_waiting"] == 0)

    await until(nobody_asks)


def plenty() -> int:
    return 100


@asynccontextmanager
async def dying_worker(url: str, subscribed: Subscription) -> AsyncIterator[asyncio.subprocess.Process]:
    """The other process, which is killed at the latest in the end."""
    arguments = [url, msgspec.json.encode(subscribed).decode()]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.events.dying_worker", *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_a_worker_that_stops_finishes_what_it_holds_and_takes_no_more(log: EventLog, workspace: str) -> None:
    subscribed, slow, other = subscription(workspace), Slow(), Slow()
    other.go.set()
    held = await request_runs(log, workspace, 3)
    async with running(Worker(log.broker, subscribed, slow, plenty)) as stopping:
        await slow.until_begun(3)
        stopping.set()
        await until_nobody_asks(log, subscribed)
        async with running(Worker(log.broker, subscribed, other, plenty)):
            later = await request_runs(log, workspace, 3)
            await other.until_begun(3)
            slow.go.set()
            await until_settled(log.broker, subscribed)

    assert sorted(slow.ended) == sorted(held)
    assert sorted(other.ended) == sorted(later)


async def test_a_worker_whose_time_to_stop_is_over_hands_over_at_once(log: EventLog, workspace: str) -> None:
    subscribed, slow, other = subscription(workspace, lease_seconds=60.0), Slow(), Slow()
    other.go.set()
    runs = await request_runs(log, workspace, 3)
    async with running(Worker(log.broker, subscribed, slow, plenty), drain_seconds=0.1):
        await slow.until_begun(3)
    async with running(Worker(log.broker, subscribed, other, plenty)), asyncio.timeout(2):
        await until_settled(log.broker, subscribed)

    assert slow.ended == []
    assert sorted(other.ended) == sorted(runs)
    assert {delivery.attempt for delivery in other.begun} == {2}


async def test_what_a_killed_process_held_comes_to_another_after_the_lease(
    nats_server: NatsServer, log: EventLog, workspace: str
) -> None:
    subscribed, other = subscription(workspace, lease_seconds=0.5), Slow()
    other.go.set()
    (run,) = await request_runs(log, workspace, 1)
    async with dying_worker(nats_server.url, subscribed) as process:
        assert process.stdout is not None
        async with asyncio.timeout(10):
            assert run in (await process.stdout.readline()).decode()
        async with running(Worker(log.broker, subscribed, other, plenty)):
            await asyncio.sleep(2 * subscribed.lease_seconds)
            assert other.begun == []
            process.kill()
            await until_settled(log.broker, subscribed)

    assert other.ended == [run]
    assert other.begun[0].attempt == 2


async def test_a_handler_may_take_longer_than_the_lease(log: EventLog, workspace: str) -> None:
    subscribed, slow, other = subscription(workspace, lease_seconds=0.4), Slow(), Slow()
    await request_runs(log, workspace, 2)
    async with running(Worker(log.broker, subscribed, slow, plenty)):
        await slow.until_begun(2)
        async with running(Worker(log.broker, subscribed, other, plenty)):
            await asyncio.sleep(3 * subscribed.lease_seconds)
            slow.go.set()
            await until_settled(log.broker, subscribed)

    assert [delivery.attempt for delivery in slow.begun] == [1, 1]
    assert other.begun == []


async def test_two_workers_share_the_messages(log: EventLog, workspace: str) -> None:
    subscribed, one, two = subscription(workspace), Slow(), Slow()
    first = Worker(log.broker, subscribed, one, lambda: 5 - first.busy)
    second = Worker(log.broker, subscribed, two, lambda: 5 - second.busy)
    async with running(first), running(second):
        runs = await request_runs(log, workspace, 10)
        await one.until_begun(5)
        await two.until_begun(5)
        one.go.set()
        two.go.set()
        await until_settled(log.broker, subscribed)

    assert sorted(one.ended + two.ended) == sorted(runs)


async def test_a_worker_never_holds_more_than_it_has_room_for(log: EventLog, workspace: str) -> None:
    subscribed, slow = subscription(workspace), Slow()
    runs = await request_runs(log, workspace, 20)
    worker = Worker(log.broker, subscribed, slow, lambda: 3 - worker.busy)
    async with running(worker):
        await slow.until_begun(3)
        assert (await consumer_state(log.broker, subscribed))["num_ack_pending"] == 3
        slow.go.set()
        await until_settled(log.broker, subscribed)

    assert slow.most == 3
    assert sorted(slow.ended) == sorted(runs)


async def test_room_is_respected_while_messages_come_and_go(log: EventLog, workspace: str) -> None:
    subscribed, held, most, handled = subscription(workspace), 0, 0, 0

    async def handler(delivery: Delivery) -> None:
        nonlocal held, most, handled
        held += 1
        most = max(most, held)
        await asyncio.sleep(0.001 * (delivery.sequence % 4))
        held -= 1
        handled += 1

    await request_runs(log, workspace, 300)
    worker = Worker(log.broker, subscribed, handler, lambda: 8 - worker.busy)
    async with running(worker):
        await until_settled(log.broker, subscribed)

    assert (handled, most) == (300, 8)


async def test_a_burst_is_taken_with_few_pulls(log: EventLog, workspace: str) -> None:
    subscribed, count = subscription(workspace), 5000
    handled = 0
    pulls = 0

    async def handler(_: Delivery) -> None:
        nonlocal handled
        handled += 1
        await asyncio.sleep(0)

    async def count_pulls(_: Msg) -> None:
        nonlocal pulls
        pulls += 1

    await log.broker.subscribe(f"$JS.API.CONSUMER.MSG.NEXT.{subscribed.stream}.{subscribed.durable}", count_pulls)
    worker = Worker(log.broker, subscribed, handler, lambda: 256 - worker.busy)
    async with running(worker):
        await request_runs(log, workspace, count)
        await until_true(lambda: handled >= count)
        await until_settled(log.broker, subscribed)

    assert handled == count
    assert 1 <= pulls < count / 25


async def test_an_idle_worker_asks_seldom(log: EventLog, workspace: str) -> None:
    subscribed, slow = subscription(workspace), Slow()
    pulls: list[bytes] = []

    async def keep(message: Msg) -> None:
        pulls.append(message.data)

    await log.broker.subscribe(f"$JS.API.CONSUMER.MSG.NEXT.{subscribed.stream}.{subscribed.durable}", keep)
    async with running(Worker(log.broker, subscribed, slow, lambda: 7)):
        await until_true(lambda: bool(pulls))
        await asyncio.sleep(1.2)

    assert [msgspec.json.decode(pull)["batch"] for pull in pulls] == [7]


async def test_a_worker_goes_on_after_its_connection_broke(
    nats_server: NatsServer, log: EventLog, workspace: str
) -> None:
    subscribed, slow = subscription(workspace, lease_seconds=1.0), Slow()
    slow.go.set()
    async with (
        proxy_to(nats_server.port) as proxy,
        connect(proxy.url, "far", ignore) as far,
        running(Worker(far, subscribed, slow, plenty)),
    ):
        runs = await request_runs(log, workspace, 1)
        await slow.until_begun(1)
        await proxy.refuse()
        runs += await request_runs(log, workspace, 5)
        await proxy.accept()
        async with asyncio.timeout(2):
            await slow.until_begun(6)
        await until_settled(log.broker, subscribed)

    assert set(slow.ended) == set(runs)


@pytest.mark.parametrize("end", [NatsServer.stop, NatsServer.kill], ids=["stop", "kill"])
async def test_a_worker_goes_on_after_the_server_restarted(fresh_nats: NatsServer, workspace: str, end: object) -> None:
    assert callable(end)
    subscribed, slow = subscription(workspace, lease_seconds=1.0), Slow()
    slow.go.set()
    async with connect(fresh_nats.url, "test", ignore) as broker:
        log = EventLog(broker, await converge(broker, 1, replicas=1))
        async with running(Worker(broker, subscribed, slow, plenty)):
            runs = await request_runs(log, workspace, 5)
            await slow.until_begun(5)
            await asyncio.to_thread(end, fresh_nats)
            await start_again(fresh_nats)
            runs += await request_runs(log, workspace, 5)
            await until_true(lambda: set(slow.ended) == set(runs))
            await until_settled(broker, subscribed)


async def test_a_pull_that_got_lost_is_made_again(nats_server: NatsServer, log: EventLog, workspace: str) -> None:
    """The connection stands, so nothing tells of it but the heartbeats that do not come."""
    subscribed, slow = subscription(workspace), Slow()
    slow.go.set()
    room = 0
    async with proxy_to(nats_server.port) as proxy, connect(proxy.url, "far", ignore) as far:
        worker = Worker(far, subscribed, slow, lambda: room)
        async with running(worker):
            await until_true(lambda: worker.pull is not None)
            assert worker.pull is not None
            await far.request("$JS.API.INFO")  # what was sent before has arrived
            proxy.lose_requests()
            room = 10
            worker.pull.wake()
            await until_true(lambda: proxy.lost_bytes > 0)
            proxy.resume()
            runs = await request_runs(log, workspace, 1)
            await slow.until_begun(1)

    assert slow.ended == runs
