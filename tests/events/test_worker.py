"""The consumer runner: what a handler's end does to its message."""

import asyncio

import pytest
from nats.aio.client import Client

from libs.events.broker import Broker, Msg, Unavailable
from libs.events.log import EventLog
from libs.events.pull import Delivery, read_delivery
from libs.events.reads import Stored, last_message, stored
from libs.events.run_events import decode_append
from libs.events.subjects import DEAD_LETTERS, dead_subject, parse_run_subject
from libs.events.worker import Subscription, Superseded, Worker
from libs.runtime.failures import Failure, Retryable, Terminal
from tests.events.waiting import until, until_true
from tests.events.workers import consumer_state, request_runs, running, subscription, until_settled


class Handler:
    """Keeps what it was called with, and ends its first calls as it is told: an exception each."""

    def __init__(self, *ends: Exception) -> None:
        self.deliveries: list[Delivery] = []
        self.times: list[float] = []
        self._ends = list(ends)

    async def __call__(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self.times.append(asyncio.get_running_loop().time())
        if self._ends:
            raise self._ends.pop(0)

    @property
    def runs(self) -> list[str]:
        return [parse_run_subject(delivery.subject)[0].run_id for delivery in self.deliveries]

    @property
    def attempts(self) -> list[int]:
        return [delivery.attempt for delivery in self.deliveries]


def plenty() -> int:
    return 100


async def dead_letter(broker: Broker, subscribed: Subscription, delivery: Delivery) -> Stored | None:
    """What the dead-letter stream holds of it."""
    return await last_message(broker, DEAD_LETTERS, dead_subject(subscribed.durable, delivery.subject))


async def reason(broker: Broker, subscribed: Subscription, delivery: Delivery) -> dict[str, str]:
    """The headers of its dead letter."""
    subject = dead_subject(subscribed.durable, delivery.subject)
    answer = await broker.request(f"$JS.API.DIRECT.GET.{DEAD_LETTERS}.{subject}")
    assert stored(answer) is not None
    return dict(answer.headers or {})


async def test_a_message_is_handled_once_and_acknowledged(log: EventLog, workspace: str) -> None:
    subscribed, handler = subscription(workspace), Handler()
    runs = await request_runs(log, workspace, 20)
    async with running(Worker(log.broker, subscribed, handler, plenty)):
        runs += await request_runs(log, workspace, 20)
        await until_settled(log.broker, subscribed)

    assert sorted(handler.runs) == sorted(runs)
    assert set(handler.attempts) == {1}
    assert decode_append(handler.deliveries[0].payload).events[0].run_id == handler.runs[0]


async def test_what_was_acknowledged_does_not_come_to_the_next_worker(log: EventLog, workspace: str) -> None:
    subscribed, first, second = subscription(workspace), Handler(), Handler()
    await request_runs(log, workspace, 5)
    async with running(Worker(log.broker, subscribed, first, plenty)):
        await until_settled(log.broker, subscribed)
    async with running(Worker(log.broker, subscribed, second, plenty)):
        later = await request_runs(log, workspace, 1)
        await until_settled(log.broker, subscribed)

    assert len(first.runs) == 5
    assert second.runs == later


async def test_a_retryable_failure_is_handled_again_after_a_pause(log: EventLog, workspace: str) -> None:
    subscribed, handler = subscription(workspace), Handler(Retryable("x", "y"), Retryable("x", "y", after=0.3))
    await request_runs(log, workspace, 1)
    async with running(Worker(log.broker, subscribed, handler, plenty)):
        await until_settled(log.broker, subscribed)

    assert handler.attempts == [1, 2, 3]
    assert 0.09 < handler.times[1] - handler.times[0] < 0.3
    assert 0.29 < handler.times[2] - handler.times[1] < 0.8
    assert await dead_letter(log.broker, subscribed, handler.deliveries[0]) is None


async def test_a_defect_in_a_handler_is_handled_again(log: EventLog, workspace: str) -> None:
    subscribed, handler = subscription(workspace), Handler(ZeroDivisionError("ours"))
    await request_runs(log, workspace, 1)
    async with running(Worker(log.broker, subscribed, handler, plenty)):
        await until_settled(log.broker, subscribed)

    assert handler.attempts == [1, 2]


async def test_a_terminal_failure_becomes_a_dead_letter_at_once(log: EventLog, workspace: str) -> None:
    subscribed, handler = subscription(workspace), Handler(Terminal("bad_flow", "no such node"))
    await request_runs(log, workspace, 1)
    async with running(Worker(log.broker, subscribed, handler, plenty)):
        await until_settled(log.broker, subscribed)

    (delivery,) = handler.deliveries
    letter = await dead_letter(log.broker, subscribed, delivery)
    assert letter is not None
    assert letter.payload == delivery.payload
    headers = await reason(log.broker, subscribed, delivery)
    assert headers["Headgate-Reason"] == "bad_flow: no such node"
    assert headers["Headgate-Consumer"] == subscribed.durable
    assert headers["Headgate-Stream"] == subscribed.stream
    assert headers["Headgate-Sequence"] == str(delivery.sequence)
    assert headers["Headgate-Attempts"] == "1"


async def test_a_message_that_fails_to_the_last_attempt_becomes_a_dead_letter(log: EventLog, workspace: str) -> None:
    subscribed = subscription(workspace, max_attempts=3)
    handler = Handler(*(Retryable("busy", f"time {n}", after=0.01) for n in (1, 2, 3)))
    await request_runs(log, workspace, 1)
    async with running(Worker(log.broker, subscribed, handler, plenty)):
        await until_settled(log.broker, subscribed)

    assert handler.attempts == [1, 2, 3]
    headers = await reason(log.broker, subscribed, handler.deliveries[0])
    assert headers["Headgate-Reason"] == "busy: time 3"
    assert headers["Headgate-Attempts"] == "3"


async def test_the_poison_hook_is_called_before_the_dead_letter_is_stored(log: EventLog, workspace: str) -> None:
    subscribed, handler = subscription(workspace), Handler(Terminal("bad_flow", "no"))
    seen: list[tuple[str, Stored | None]] = []

    async def on_poison(delivery: Delivery, failure: Failure) -> bool:
        seen.append((failure.code, await dead_letter(log.broker, subscribed, delivery)))
        return True

    await request_runs(log, workspace, 1)
    async with running(Worker(log.broker, subscribed, handler, plenty, on_poison)):
        await until_settled(log.broker, subscribed)

    assert seen == [("bad_flow", None)]
    assert await dead_letter(log.broker, subscribed, handler.deliveries[0]) is not None


async def test_without_its_dead_letter_a_message_is_kept(log: EventLog, workspace: str) -> None:
    subscribed, handler = subscription(workspace), Handler(Terminal("bad_flow", "no"))
    hooked = asyncio.Event()

    async def broken_hook(delivery: Delivery, failure: Failure) -> bool:
        hooked.set()
        raise Unavailable

    await request_runs(log, workspace, 1)
    async with running(Worker(log.broker, subscribed, handler, plenty, broken_hook)):
        await hooked.wait()

    assert (await consumer_state(log.broker, subscribed))["num_ack_pending"] == 1
    assert await dead_letter(log.broker, subscribed, handler.deliveries[0]) is None


async def test_an_outage_uses_up_no_attempts(log: EventLog, workspace: str) -> None:
    subscribed = subscription(workspace, max_attempts=1, max_crashes=1, lease_seconds=0.3)
    handler = Handler(Unavailable(), Unavailable())
    await request_runs(log, workspace, 1)
    async with running(Worker(log.broker, subscribed, handler, plenty)):
        await until_settled(log.broker, subscribed)

    assert handler.attempts == [1, 1, 1]
    assert await dead_letter(log.broker, subscribed, handler.deliveries[0]) is None


async def test_what_somebody_else_works_on_is_left_to_them(log: EventLog, workspace: str) -> None:
    subscribed = subscription(workspace, lease_seconds=0.3)
    handler = Handler(Superseded())
    await request_runs(log, workspace, 1)
    async with running(Worker(log.broker, subscribed, handler, plenty)):
        await until_settled(log.broker, subscribed)

    assert handler.attempts == [1, 2]
    assert handler.times[1] - handler.times[0] > 0.25


async def test_a_message_that_seems_to_kill_processes_is_buried_unseen(log: EventLog, workspace: str) -> None:
    subscribed = subscription(workspace, max_attempts=9, max_crashes=2)
    handler = Handler(*(Retryable("x", "y", after=0.0) for _ in range(9)))
    await request_runs(log, workspace, 1)
    async with running(Worker(log.broker, subscribed, handler, plenty)):
        await until_settled(log.broker, subscribed)

    assert handler.attempts == [1, 2]
    assert "ended the process" in (await reason(log.broker, subscribed, handler.deliveries[0]))["Headgate-Reason"]


async def test_a_consumer_that_is_deleted_under_way_is_made_again(log: EventLog, workspace: str) -> None:
    subscribed, handler = subscription(workspace), Handler()
    async with running(Worker(log.broker, subscribed, handler, plenty)):
        await request_runs(log, workspace, 1)

        async def deleted() -> bool:
            call = f"$JS.API.CONSUMER.DELETE.{subscribed.stream}.{subscribed.durable}"
            return b'"success":true' in (await log.broker.request(call)).data

        await until(deleted)
        (later,) = await request_runs(log, workspace, 1)

        async def handled() -> bool:
            return later in handler.runs

        await until(handled)


@pytest.mark.parametrize("config", [{"lease_seconds": 7.0}, {"filter": "evt.0.elsewhere.*.requested"}])
async def test_a_consumer_is_brought_up_to_date(log: EventLog, workspace: str, config: dict[str, object]) -> None:
    older = subscription(workspace)
    async with running(Worker(log.broker, older, Handler(), plenty)):
        await request_runs(log, workspace, 1)
        await until_settled(log.broker, older)
    newer = subscription(workspace, durable=older.durable, **config)
    async with running(Worker(log.broker, newer, Handler(), plenty)):

        async def updated() -> bool:
            found = (await consumer_state(log.broker, newer))["config"]
            return (found["ack_wait"], found["filter_subject"]) == (newer.lease_seconds * 1e9, newer.filter)

        await until(updated)


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.EVENTS_0.worker.2.31.7.1700000000000000000.5",
        "$JS.ACK.hub.HASH.EVENTS_0.worker.2.31.7.1700000000000000000.5",
        "$JS.ACK._.HASH.EVENTS_0.worker.2.31.7.1700000000000000000.5.TOKEN",
    ],
)
def test_a_delivery_is_read_from_all_forms_of_acknowledgement_subjects(reply: str) -> None:
    delivery = read_delivery(Msg(_client=Client(), subject="evt.0.w.r.requested", reply=reply, data=b"x"))

    assert (delivery.attempt, delivery.sequence, delivery.consumer_sequence, delivery.pending) == (2, 31, 7, 5)
    assert (delivery.subject, delivery.payload, delivery.reply) == ("evt.0.w.r.requested", b"x", reply)


async def test_one_pull_brings_no_more_than_so_many_bytes_and_the_rest_comes_when_there_is_room(
    log: EventLog, workspace: str
) -> None:
    subscribed = subscription(workspace)
    payload = b"x" * (9 * 1024 * 1024)
    for number in range(12):
        await log.broker.request(f"evt.0.{workspace}.run{number}.requested", payload, timeout=10)
    handler, opened = Handler(), asyncio.Event()

    def room() -> int:
        return 100 if opened.is_set() or not handler.deliveries else 0

    async with running(Worker(log.broker, subscribed, handler, room)):
        await until_true(lambda: len(handler.deliveries) == 7)
        assert (await consumer_state(log.broker, subscribed))["num_pending"] == 5
        opened.set()
        await until_settled(log.broker, subscribed)
    assert handler.runs == [f"run{number}" for number in range(12)]
    assert handler.attempts == [1] * 12


async def test_what_does_not_concern_a_handler_is_done_with_without_it(log: EventLog, workspace: str) -> None:
    subscribed, handler = subscription(workspace), Handler()
    runs = await request_runs(log, workspace, 3)
    worker = Worker(log.broker, subscribed, handler, lambda: 10, concerns=lambda delivery: runs[1] in delivery.subject)

    async with running(worker):
        await until_settled(log.broker, subscribed)

    assert [parse_run_subject(each.subject)[0].run_id for each in handler.deliveries] == [runs[1]]
