"""Timers on the real server: when they fire, how often, and what becomes of them when something is down."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from cli.servers import NatsServer
from libs.events.broker import Broker, Unavailable, connect
from libs.events.log import EventLog
from libs.events.pull import Delivery
from libs.events.subjects import TIMERS, parse_due_subject
from libs.events.timers import MAX_PAYLOAD_BYTES, cancel_timer, due_now, due_timers, set_timer, sweep
from libs.events.topology import api, converge
from libs.events.worker import Subscription, Worker
from libs.runtime.ids import new_id
from tests.events.waiting import start_again, until, until_true
from tests.events.workers import running, until_settled

ON_TIME_SECONDS = 1.0


class Fired:
    """A handler that writes down what came due, and when."""

    def __init__(self) -> None:
        self.payloads: dict[str, list[bytes]] = {}
        self.at: dict[str, float] = {}

    async def __call__(self, delivery: Delivery) -> None:
        _, timer_id = parse_due_subject(delivery.subject)
        self.payloads.setdefault(timer_id, []).append(delivery.payload)
        self.at.setdefault(timer_id, time.time())


def subscribed_to(kind: str) -> Subscription:
    return due_timers(kind, new_id("durable"), lease_seconds=5.0)


def worker(broker: Broker, kind: str, fired: Fired) -> Worker:
    return Worker(broker, subscribed_to(kind), fired, lambda: 256)


def soon(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def left(broker: Broker, kind: str) -> dict[str, int]:
    """The subjects of the kind on which something lies."""
    found = await api(broker, f"STREAM.INFO.{TIMERS}", {"subjects_filter": f"tmr.*.{kind}.*"}, dict)
    return found["state"].get("subjects") or {}


@pytest.fixture
def kind(log: EventLog) -> str:
    """A kind of timers that no other test has."""
    return new_id("kind")


@pytest.fixture
async def frail(fresh_nats: NatsServer) -> AsyncIterator[Broker]:
    """A connection to a server that the test may hurt."""
    async with connect(fresh_nats.url, "test", lambda: None) as broker:
        await converge(broker, 1, replicas=1)
        yield broker


async def test_a_timer_comes_due_at_its_time_and_once(broker: Broker, kind: str) -> None:
    fired = Fired()
    at = soon(0.7)
    await set_timer(broker, kind, "a", at.astimezone(timezone(timedelta(hours=5))), b"one")

    async with running(worker(broker, kind, fired)):
        await until_true(lambda: "a" in fired.at)

    assert 0 <= fired.at["a"] - at.timestamp() < ON_TIME_SECONDS
    assert fired.payloads == {"a": [b"one"]}
    assert list(await left(broker, kind)) == [f"tmr.due.{kind}.a"]


async def test_a_time_that_is_past_and_now_come_due_at_once(broker: Broker, kind: str) -> None:
    fired = Fired()
    begun = time.time()
    await set_timer(broker, kind, "past", soon(-3600), b"1")
    await due_now(broker, kind, "now", b"2")

    async with running(worker(broker, kind, fired)):
        await until_true(lambda: len(fired.at) == 2)

    assert max(fired.at.values()) - begun < ON_TIME_SECONDS
    assert fired.payloads == {"past": [b"1"], "now": [b"2"]}


async def test_setting_again_replaces(broker: Broker, kind: str) -> None:
    fired = Fired()
    await set_timer(broker, kind, "later", soon(0.2), b"old")
    await set_timer(broker, kind, "later", at := soon(0.8), b"new")
    await set_timer(broker, kind, "sooner", soon(3600), b"old")
    await set_timer(broker, kind, "sooner", soon(0.3), b"new")

    async with running(worker(broker, kind, fired)):
        await until_true(lambda: len(fired.at) == 2)

    assert fired.at["later"] >= at.timestamp()
    assert fired.payloads == {"later": [b"new"], "sooner": [b"new"]}


async def test_due_now_takes_the_place_of_a_timer(broker: Broker, kind: str) -> None:
    fired = Fired()
    await set_timer(broker, kind, "a", soon(0.5), b"later")
    await due_now(broker, kind, "a", b"now")
    await set_timer(broker, kind, "witness", soon(0.9), b"")

    async with running(worker(broker, kind, fired)):
        await until_true(lambda: "witness" in fired.at)

    assert fired.payloads["a"] == [b"now"]


async def test_a_timer_that_is_cancelled_does_not_come_due(broker: Broker, kind: str) -> None:
    fired = Fired()
    await set_timer(broker, kind, "a", soon(0.3), b"")
    await set_timer(broker, kind, "b", soon(0.3), b"")
    await set_timer(broker, kind, "witness", soon(0.8), b"")

    await cancel_timer(broker, kind, "a")
    await cancel_timer(broker, kind, "a")
    await cancel_timer(broker, kind, "unknown")

    async with running(worker(broker, kind, fired)):
        await until_true(lambda: "witness" in fired.at)
    assert set(fired.at) == {"b", "witness"}


async def test_what_comes_due_without_a_worker_waits_for_one(broker: Broker, kind: str) -> None:
    fired = Fired()
    await set_timer(broker, kind, "a", soon(0.1), b"kept")

    async def is_due() -> bool:
        return f"tmr.due.{kind}.a" in await left(broker, kind)

    await until(is_due)

    async with running(worker(broker, kind, fired)):
        await until_true(lambda: "a" in fired.at)


async def test_one_kind_does_not_hear_another(broker: Broker, kind: str) -> None:
    mine, others = Fired(), Fired()
    other = new_id("kind")
    async with running(worker(broker, kind, mine)), running(worker(broker, other, others)):
        await due_now(broker, kind, "a", b"")
        await due_now(broker, other, "b", b"")
        await until_true(lambda: len(mine.at) + len(others.at) == 2)

    assert (set(mine.at), set(others.at)) == ({"a"}, {"b"})


@pytest.mark.parametrize("end", [NatsServer.stop, NatsServer.kill], ids=["stop", "kill"])
async def test_timers_outlive_the_server(frail: Broker, fresh_nats: NatsServer, end: object) -> None:
    """One comes due while the server is down, one after it is back; one was cancelled, one replaced before."""
    assert callable(end)
    fired = Fired()
    await set_timer(frail, "k", "down", soon(0.1), b"down")
    await set_timer(frail, "k", "back", soon(0.2), b"old")
    await set_timer(frail, "k", "back", at := soon(2.5), b"back")
    await set_timer(frail, "k", "cancelled", soon(0.2), b"")
    await cancel_timer(frail, "k", "cancelled")
    await asyncio.to_thread(end, fresh_nats)
    await start_again(fresh_nats)

    async with running(worker(frail, "k", fired)):
        await until_true(lambda: len(fired.at) == 2)

    assert 0 <= fired.at["back"] - at.timestamp() < ON_TIME_SECONDS
    assert fired.payloads == {"down": [b"down"], "back": [b"back"]}
    assert set(await left(frail, "k")) == {"tmr.due.k.down", "tmr.due.k.back"}


async def test_a_thousand_timers_fire_once_each_and_on_time_though_the_server_is_killed(
    frail: Broker, fresh_nats: NatsServer
) -> None:
    """Killed while they are set: what was acknowledged is there, and the rest is set when it is back."""
    fired = Fired()
    begun = datetime.now(UTC)
    times = {f"t{n}": begun + timedelta(seconds=random.uniform(4, 7)) for n in range(1000)}

    stored: list[str] = []

    fifty = asyncio.Semaphore(50)

    async def put(name: str) -> None:
        async with fifty:
            await set_timer(frail, "k", name, times[name], name.encode())
        stored.append(name)
        if len(stored) == 500:
            fresh_nats.kill()

    setting = asyncio.gather(*map(put, times))
    await until_true(lambda: len(stored) >= 500)
    await start_again(fresh_nats)
    await setting
    all_set = time.time()

    async with running(worker(frail, "k", fired)):
        await until_true(lambda: len(fired.at) == 1000)

    assert fired.payloads == {name: [name.encode()] for name in times}
    late = sorted(fired.at[name] - max(at.timestamp(), all_set) for name, at in times.items())
    assert late[-1] < ON_TIME_SECONDS
    assert late[0] >= 0 or all_set > min(at.timestamp() for at in times.values())


async def test_what_was_handled_is_swept_and_nothing_else(broker: Broker, kind: str) -> None:
    fired = Fired()
    subscribed = subscribed_to(kind)
    await set_timer(broker, kind, "later", soon(3600), b"")
    for n in range(20):
        await due_now(broker, kind, f"done{n}", b"")
    async with running(Worker(broker, subscribed, fired, lambda: 256)):
        await until_true(lambda: len(fired.at) == 20)
        await until_settled(broker, subscribed)
    await due_now(broker, kind, "undone", b"")

    await sweep(broker, subscribed)
    await sweep(broker, subscribed)

    assert set(await left(broker, kind)) == {f"tmr.at.{kind}.later", f"tmr.due.{kind}.undone"}
    again = Fired()
    async with running(Worker(broker, subscribed, again, lambda: 256)):
        await until_true(lambda: bool(again.at))
    assert again.payloads == {"undone": [b""]}


async def test_before_there_is_a_consumer_nothing_is_swept(broker: Broker, kind: str) -> None:
    await due_now(broker, kind, "a", b"")

    await sweep(broker, subscribed_to(kind))

    assert set(await left(broker, kind)) == {f"tmr.due.{kind}.a"}


async def test_a_timer_for_the_end_of_time_does_not_come_due_at_once(broker: Broker, kind: str) -> None:
    fired = Fired()
    await set_timer(broker, kind, "far", datetime.max.replace(tzinfo=UTC), b"")
    await set_timer(broker, kind, "witness", soon(0.3), b"")

    async with running(worker(broker, kind, fired)):
        await until_true(lambda: bool(fired.at))

    assert set(fired.at) == {"witness"}


@pytest.mark.parametrize("bad", ["", "a.b", "*", ">", "a b", "x" * 65])
async def test_what_is_no_token_is_no_timer(broker: Broker, bad: str) -> None:
    with pytest.raises(ValueError, match="token"):
        await set_timer(broker, "k", bad, soon(1), b"")
    with pytest.raises(ValueError, match="token"):
        await cancel_timer(broker, bad, "a")


async def test_a_time_without_a_zone_and_a_large_payload_are_refused(broker: Broker) -> None:
    with pytest.raises(ValueError, match="zone"):
        await set_timer(broker, "k", "a", datetime(2030, 1, 1), b"")
    with pytest.raises(ValueError, match="payload"):
        await due_now(broker, "k", "a", bytes(MAX_PAYLOAD_BYTES + 1))


async def test_without_a_server_setting_ends_within_its_patience(frail: Broker, fresh_nats: NatsServer) -> None:
    fresh_nats.kill()
    begun = time.monotonic()

    with pytest.raises(Unavailable):
        await set_timer(frail, "k", "a", soon(1), b"", patience_seconds=0.3)

    assert 0.3 <= time.monotonic() - begun < 1.5
