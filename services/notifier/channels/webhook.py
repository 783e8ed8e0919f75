"""Registered webhooks: the seed's body, signed with the webhook's own secret, with two while it is rotated."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from libs.egress import Egress
from libs.events.deliveries import Delivery, ToWebhook
from libs.events.managed import Webhook
from libs.events.run_events import Fault, NodeFinished, RunCancelled, RunCompleted, RunFailed
from libs.runtime.secrets import signing_secret
from services.notifier.channels import Outcome, Story
from services.notifier.channels.posting import post
from services.notifier.subscribers import Subscribers


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of the run, or of the node; null where nothing has yet."""

    output: Any = None


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a webhook gets. `component` is the node that was completed, `error` why a run failed."""

    event: str
    flow_id: str
    session_id: str | None
    result: Result
    timestamp: datetime
    run_id: str
    deployment_id: str = ""
    component: str | None = None
    error: Fault | None = None


class WebhookChannel:
    """Posts to where a webhook points now, signed by what signs for it now."""

    def __init__(self, egress: Egress, subscribers: Subscribers, master: bytes, timeout_seconds: float) -> None:
        self._egress = egress
        self._subscribers = subscribers
        self._master = master
        self._timeout_seconds = timeout_seconds

    def lane(self, delivery: Delivery) -> str:
        """Each webhook is one."""
        return _webhook_id(delivery)

    def compose(self, delivery: Delivery, story: Story | None) -> bytes:
        """The body; of a test one that says so, with the members that any other has."""
        if story is None:
            return msgspec.json.encode(
                Body(
                    event=delivery.event,
                    flow_id=delivery.flow_id,
                    session_id=None,
                    result=Result(output="This is a test."),
                    timestamp=delivery.created_at,
                    run_id=delivery.run_id,
                )
            )
        return msgspec.json.encode(_body(delivery.event, story))

    async def send(self, delivery: Delivery, body: bytes) -> Outcome:
        """One signed POST."""
        webhook = self._subscribers.webhook(delivery.workspace, _webhook_id(delivery))
        if webhook is None:
            return Outcome(delivered=False, error="the webhook was deleted", final=True)
        secrets = webhook_secrets(self._master, webhook, datetime.now(UTC))
        return await post(self._egress, webhook.url, delivery.id, body, secrets, self._timeout_seconds)


def webhook_secrets(master: bytes, webhook: Webhook, now: datetime) -> list[str]:
    """The secrets that sign at a time, the newest first."""
    secrets = [signing_secret(master, webhook.id, webhook.signing_generation)]
    if webhook.previous_until is not None and now < webhook.previous_until:
        secrets.append(signing_secret(master, webhook.id, webhook.signing_generation - 1))
    return secrets


def _body(name: str, story: Story) -> Body:
    event, run = story.event, story.run
    result = Result(output=event.data.output) if isinstance(event, RunCompleted | NodeFinished) else Result()
    error = None
    if isinstance(event, RunFailed):
        error = event.data.error
    elif isinstance(event, RunCancelled):
        error = Fault(code="cancelled", message="the run was cancelled")
    return Body(
        event=name,
        flow_id=run.flow_id,
        session_id=run.session_id,
        result=result,
        timestamp=event.at,
        run_id=run.id,
        deployment_id=run.deployment_id,
        component=event.node if isinstance(event, NodeFinished) else None,
        error=error,
    )


def _webhook_id(delivery: Delivery) -> str:
    if not isinstance(delivery.target, ToWebhook):
        raise TypeError("this delivery is for another channel")
    return delivery.target.webhook_id
