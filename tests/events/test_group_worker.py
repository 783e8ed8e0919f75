"""The consumer runner and groups: what cannot be handled is a dead letter of each run by itself."""

import pytest

from libs.events.broker import Unavailable
from libs.events.groups import entry_of
from libs.events.log import EventLog
from libs.events.pull import Delivery
from libs.events.reads import Stored, last_message
from libs.events.run_events import encode_append
from libs.events.subjects import DEAD_LETTERS, Kind, RunKey, dead_subject, parse_run_subject
from libs.events.worker import Subscription, Worker
from libs.runtime.failures import Failure, Retryable, Terminal
from tests.events.grouped import ask_together, members_in
from tests.events.runs import requested
from tests.events.workers import running, subscription, until_settled


@pytest.fixture
async def runs(log: EventLog, workspace: str) -> list[RunKey]:
    """Three runs of a group that the subscription is about, asked for."""
    found = members_in(workspace, 3, 0, log.shards)
    await ask_together(log, found)
    return found


@pytest.fixture
def subscribed(workspace: str) -> Subscription:
    return subscription(workspace)


def plenty() -> int:
    return 100


class Refusing:
    """A handler that can take nothing, and what it was called with."""

    def __init__(self, *failures: Failure) -> None:
        self.deliveries: list[Delivery] = []
        self._failures = list(failures)

    async def __call__(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        raise self._failures.pop(0) if self._failures else Terminal("bad_flow", "no such node")


async def letter(log: EventLog, subscribed: Subscription, subject: str) -> Stored | None:
    return await last_message(log.broker, DEAD_LETTERS, dead_subject(subscribed.durable, subject))


async def buried(log: EventLog, subscribed: Subscription, runs: list[RunKey]) -> list[RunKey]:
    """Those of the runs of whose requests there are dead letters, which must hold them as they are."""
    found = []
    for run in runs:
        dead = await letter(log, subscribed, log.subject(run, Kind.REQUESTED))
        if dead is not None:
            assert dead.payload == encode_append(requested(run))
            found.append(run)
    return found


async def test_a_group_comes_to_its_handler_as_one_message(
    log: EventLog, runs: list[RunKey], subscribed: Subscription
) -> None:
    handled: list[Delivery] = []

    async def handler(delivery: Delivery) -> None:
        handled.append(delivery)

    async with running(Worker(log.broker, subscribed, handler, plenty)):
        await until_settled(log.broker, subscribed)
    assert len(handled) == 1
    assert await buried(log, subscribed, runs) == []


async def test_a_group_that_cannot_be_handled_is_a_dead_letter_for_each_run(
    log: EventLog, runs: list[RunKey], subscribed: Subscription
) -> None:
    handler = Refusing()
    async with running(Worker(log.broker, subscribed, handler, plenty)):
        await until_settled(log.broker, subscribed)

    (delivery,) = handler.deliveries
    assert await buried(log, subscribed, runs) == runs
    assert await letter(log, subscribed, delivery.subject) is None
    subject = dead_subject(subscribed.durable, log.subject(runs[1], Kind.REQUESTED))
    headers = (await log.broker.request(f"$JS.API.DIRECT.GET.{DEAD_LETTERS}.{subject}")).headers
    assert headers["Headgate-Reason"] == "bad_flow: no such node"
    assert (headers["Headgate-Stream"], headers["Headgate-Sequence"]) == (log.stream(runs[1]), str(delivery.sequence))


async def test_a_group_that_fails_to_the_last_attempt_is_a_dead_letter_for_each_run(
    log: EventLog, workspace: str, runs: list[RunKey]
) -> None:
    subscribed = subscription(workspace, max_attempts=2)
    handler = Refusing(*(Retryable("busy", "later", after=0.0) for _ in range(2)))
    async with running(Worker(log.broker, subscribed, handler, plenty)):
        await until_settled(log.broker, subscribed)
    assert [each.attempt for each in handler.deliveries] == [1, 2]
    assert await buried(log, subscribed, runs) == runs


async def test_the_poison_hook_is_told_of_each_run_and_decides_for_each(
    log: EventLog, runs: list[RunKey], subscribed: Subscription
) -> None:
    told: list[tuple[RunKey, bytes, str]] = []

    async def on_poison(delivery: Delivery, failure: Failure) -> bool:
        run, _ = parse_run_subject(delivery.subject)
        told.append((run, delivery.payload, failure.code))
        return run != runs[1]

    async with running(Worker(log.broker, subscribed, Refusing(), plenty, on_poison)):
        await until_settled(log.broker, subscribed)

    assert told == [(run, encode_append(requested(run)), "bad_flow") for run in runs]
    assert await buried(log, subscribed, runs) == [runs[0], runs[2]]


async def test_only_the_runs_that_concern_a_handler_are_dead_letters(
    log: EventLog, runs: list[RunKey], subscribed: Subscription
) -> None:
    """A glance at the whole message finds something of what is looked for in one run: so does one at that run."""
    wanted = runs[2].run_id.encode()
    told: list[RunKey] = []

    async def on_poison(delivery: Delivery, failure: Failure) -> bool:
        told.append(parse_run_subject(delivery.subject)[0])
        return True

    def concerns(delivery: Delivery) -> bool:
        return wanted in delivery.payload

    async with running(Worker(log.broker, subscribed, Refusing(), plenty, on_poison, concerns)):
        await until_settled(log.broker, subscribed)

    assert told == [runs[2]]
    assert await buried(log, subscribed, runs) == [runs[2]]


async def test_a_group_that_concerns_nobody_is_done_with_at_once(
    log: EventLog, runs: list[RunKey], subscribed: Subscription
) -> None:
    handler = Refusing()
    async with running(Worker(log.broker, subscribed, handler, plenty, concerns=lambda _: False)):
        await until_settled(log.broker, subscribed)
    assert handler.deliveries == []
    assert await buried(log, subscribed, runs) == []


async def test_what_is_no_group_although_its_subject_says_so_is_a_dead_letter_as_it_is(
    log: EventLog, workspace: str, subscribed: Subscription
) -> None:
    (run,) = members_in(workspace, 1, 0, log.shards)
    subject = log.subject(entry_of(run), Kind.REQUESTED)
    await log.append_group(entry_of(run), Kind.REQUESTED, b"of a newer replica", after=0)
    handler = Refusing()
    async with running(Worker(log.broker, subscribed, handler, plenty)):
        await until_settled(log.broker, subscribed)
    assert [each.attempt for each in handler.deliveries] == [1]
    dead = await letter(log, subscribed, subject)
    assert dead is not None
    assert dead.payload == b"of a newer replica"


async def test_a_group_whose_burial_failed_half_way_is_kept(
    log: EventLog, runs: list[RunKey], subscribed: Subscription
) -> None:
    asked: list[RunKey] = []

    async def on_poison(delivery: Delivery, failure: Failure) -> bool:
        run, _ = parse_run_subject(delivery.subject)
        asked.append(run)
        if run == runs[1] and asked.count(run) == 1:
            raise Unavailable
        return True

    handler = Refusing()
    async with running(Worker(log.broker, subscribed, handler, plenty, on_poison)):
        await until_settled(log.broker, subscribed)

    assert asked == [*runs[:2], *runs]
    assert await buried(log, subscribed, runs) == runs
