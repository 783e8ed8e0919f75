"""Whether a target is still to be told, and what follows when it fails: one that is gone, or fails for days, is out.

That it is, and why, is an event on the management stream, so the audit has it and every gateway and notifier knows at
once. Its owner puts it back with a PATCH.
"""

from datetime import datetime

import msgspec
import structlog

from libs.events.appends import Conflict
from libs.events.broker import Broker
from libs.events.deliveries import Delivery, ToWebhook
from libs.events.managed import Change, Webhook, recall, record, subject_of
from services.notifier.channels import Outcome
from services.notifier.conditions import Conditions
from services.notifier.subscribers import Subscribers

TEST = "test"
_TRIES = 20

log = structlog.get_logger()


class Endpoints:
    """The targets of this process's deliveries. `failing_seconds`: how long an address may fail before it is out."""

    def __init__(self, broker: Broker, subscribers: Subscribers, failing_seconds: float, by: str) -> None:
        self._broker = broker
        self._subscribers = subscribers
        self._conditions = Conditions(broker)
        self._failing_seconds = failing_seconds
        self._by = by

    def closed(self, delivery: Delivery) -> str | None:
        """Why the target is not to be told any more; None: it is. What somebody asks for goes to a disabled one too."""
        if not isinstance(delivery.target, ToWebhook):
            return None
        webhook = self._subscribers.webhook(delivery.workspace, delivery.target.webhook_id)
        if webhook is None:
            return "the webhook was deleted"
        if not webhook.active and delivery.event != TEST and not delivery.asked_for:
            return "the webhook is not active"
        return None

    async def after(self, delivery: Delivery, outcome: Outcome, now: datetime) -> str | None:
        """Remember how an attempt went; why the webhook is out of service since now, None where it is not."""
        if not isinstance(delivery.target, ToWebhook):
            return None
        workspace, webhook_id = delivery.workspace, delivery.target.webhook_id
        if outcome.delivered:
            await self._conditions.well(workspace, webhook_id)
            return None
        too_long = await self._conditions.failed(workspace, webhook_id, now, self._failing_seconds)
        webhook = self._subscribers.webhook(workspace, webhook_id)
        if webhook is None or not (outcome.gone or too_long):
            return None
        reason = "gone" if outcome.gone else "failing"
        if not await disable(self._broker, webhook, reason, self._by, now):
            return None
        log.warning("webhook disabled", webhook_id=webhook_id, reason=reason)
        return reason


async def disable(broker: Broker, webhook: Webhook, reason: str, by: str, now: datetime) -> bool:
    """Record that a webhook is out of service, and why; False where it is already, or is gone."""
    subject = subject_of(webhook.workspace, webhook)
    for _ in range(_TRIES):
        found = await recall(broker, subject)
        state = None if found is None else found.change.state
        if found is None or not isinstance(state, Webhook) or state.deleted or not state.active:
            return False
        newer = msgspec.structs.replace(state, active=False, disabled_reason=reason, updated_at=now)
        try:
            change = Change(type="webhook.disabled", at=now, by=by, state=newer)
            await record(broker, subject, change, after=found.sequence)
        except Conflict:
            continue
        return True
    return False
