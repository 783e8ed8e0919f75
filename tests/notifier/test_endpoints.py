"""A webhook whose address fails for too long is taken out of service, whichever notifier finds out."""

from datetime import UTC, datetime, timedelta

import msgspec

from libs.events.broker import Broker
from libs.events.deliveries import Delivery, ToWebhook
from libs.events.log import EventLog
from libs.events.managed import Change, Webhook, recall, record, subject_of
from libs.runtime.ids import new_id
from services.notifier.channels import Outcome
from services.notifier.endpoints import Endpoints
from services.notifier.subscribers import Subscribers

DAYS = 86_400.0
BEGAN = datetime(2026, 11, 1, tzinfo=UTC)
FAILED, DELIVERED = Outcome(delivered=False, status=500), Outcome(delivered=True, status=200)


class House:
    """Some notifiers, and one webhook that all of them know."""

    def __init__(self, broker: Broker, workspace: str, notifiers: int) -> None:
        self.broker = broker
        self.webhook = Webhook(
            id=new_id("whk"),
            workspace=workspace,
            url="https://example.org/",
            events=("flow_completed",),
            created_at=BEGAN,
            updated_at=BEGAN,
        )
        self.subject = subject_of(workspace, self.webhook)
        self.subscribers = [Subscribers(broker) for _ in range(notifiers)]
        self.notifiers = [Endpoints(broker, each, 5 * DAYS, "notifier-0") for each in self.subscribers]
        self.delivery = Delivery(
            id=new_id("dlv"),
            workspace=workspace,
            target=ToWebhook(webhook_id=self.webhook.id),
            event="flow_completed",
            created_at=BEGAN,
        )

    async def register(self) -> None:
        change = Change(type="webhook.created", at=BEGAN, by="key_1", state=self.webhook)
        sequence = await record(self.broker, self.subject, change, after=0)
        for each in self.subscribers:
            each.registry.apply(self.subject, sequence, change)

    async def after(self, notifier: int, outcome: Outcome, days: float) -> None:
        await self.notifiers[notifier].after(self.delivery, outcome, BEGAN + timedelta(days=days))

    async def state(self) -> Webhook:
        found = await recall(self.broker, self.subject)
        assert found is not None
        assert isinstance(found.change.state, Webhook)
        return found.change.state


async def house(broker: Broker, workspace: str, notifiers: int = 2) -> House:
    found = House(broker, workspace, notifiers)
    await found.register()
    return found


async def test_five_days_of_failures_disable_it_with_an_event_that_says_so(log: EventLog, workspace: str) -> None:
    found = await house(log.broker, workspace)
    await found.after(0, FAILED, 0)
    await found.after(1, FAILED, 4.9)
    assert (await found.state()).active
    await found.after(1, FAILED, 5.1)
    state = await found.state()
    assert (state.active, state.disabled_reason) == (False, "failing")
    recorded = await recall(log.broker, found.subject)
    assert recorded is not None
    assert (recorded.change.type, recorded.change.by) == ("webhook.disabled", "notifier-0")


async def test_one_success_at_any_notifier_begins_the_count_anew(log: EventLog, workspace: str) -> None:
    found = await house(log.broker, workspace)
    await found.after(0, FAILED, 0)
    await found.after(1, DELIVERED, 3)
    await found.after(0, FAILED, 6)
    assert (await found.state()).active
    await found.after(0, FAILED, 10.9)
    assert (await found.state()).active
    await found.after(1, FAILED, 11.1)
    assert not (await found.state()).active


async def test_it_is_remembered_by_a_notifier_that_has_just_started(log: EventLog, workspace: str) -> None:
    found = await house(log.broker, workspace, notifiers=1)
    await found.after(0, FAILED, 0)
    later = Endpoints(log.broker, found.subscribers[0], 5 * DAYS, "notifier-1")
    await later.after(found.delivery, FAILED, BEGAN + timedelta(days=6))
    assert not (await found.state()).active


async def test_410_disables_it_at_once_and_twice_changes_nothing(log: EventLog, workspace: str) -> None:
    found = await house(log.broker, workspace)
    gone = Outcome(delivered=False, status=410, gone=True)
    await found.after(0, gone, 0)
    first = await recall(log.broker, found.subject)
    await found.after(1, gone, 0)
    assert await recall(log.broker, found.subject) == first
    assert (await found.state()).disabled_reason == "gone"


async def test_what_is_asked_for_goes_to_a_disabled_webhook_and_nothing_to_a_deleted_one(
    log: EventLog, workspace: str
) -> None:
    found = await house(log.broker, workspace, notifiers=1)
    registry, notifier = found.subscribers[0].registry, found.notifiers[0]
    for number, changes in enumerate(({"active": False}, {"deleted": True})):
        state = msgspec.structs.replace(found.webhook, **changes)
        change = Change(type="webhook.changed", at=BEGAN, by="key_1", state=state)
        registry.apply(found.subject, 10**9 + number, change)
        again = msgspec.structs.replace(found.delivery, asked_for=1)
        assert notifier.closed(found.delivery) is not None
        assert (notifier.closed(again) is None) is (number == 0)
