"""From a message of the log to the deliveries that follow from it. Pure.

run.started     flow_started
node.finished   component_completed
run.completed   flow_completed, and callbacks and emails
run.failed      flow_error, and callbacks and emails; so too run.cancelled
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta

import msgspec

from libs.events.deliveries import Delivery, Target, ToCallback, ToEmail, ToWebhook, delivery_id
from libs.events.managed import Webhook
from libs.events.run_events import (
    Append,
    NodeFinished,
    RequestedData,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
)
from services.notifier.subscribers import Shelf

RUN_ENDED = "run_ended"
"""What callbacks and emails are told."""

_SKEW = timedelta(minutes=1)
"""How far the clock of the process that made a webhook may be ahead of one that tells an event."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery, and the event that it tells."""

    delivery: Delivery
    event: RunEvent
    templated: bool = False
    """Whether the target is a template still: a deployment's email reads the run."""


def may_match(payload: bytes, shelf: Shelf | None) -> bool:
    """Whether it is worth decoding a message: nearly always nobody wants to hear of it."""
    return shelf is not None or b'"audience":' in payload


def deliveries_of(
    workspace: str, run_id: str, requested: RequestedData, append: Append, shelf: Shelf | None
) -> list[Told]:
    """What is to be told, to whom, of the events in an append."""
    found: dict[str, Told] = {}
    for event in append.events:
        for target, name, templated in _targets(event, requested, append, shelf):
            delivery = Delivery(
                id=delivery_id(workspace, target, run_id, event.seq, name),
                workspace=workspace,
                target=target,
                event=name,
                created_at=event.at,
                flow_id=requested.flow_id,
                deployment_id=requested.deployment_id,
                run_id=run_id,
                seq=event.seq,
                trace=append.trace,
            )
            found.setdefault(delivery.id, Told(delivery=delivery, event=event, templated=templated))
    return list(found.values())


def event_name(event: RunEvent) -> str | None:
    """What webhooks call an event; None: they do not hear of it."""
    match event:
        case RunStarted():
            return "flow_started"
        case NodeFinished():
            return "component_completed"
        case RunCompleted():
            return "flow_completed"
        case RunFailed() | RunCancelled():
            return "flow_error"
    return None


def wants(webhook: Webhook, name: str, requested: RequestedData) -> bool:
    """Whether a webhook is to be told of an event of such a run."""
    return (
        name in webhook.events
        and webhook.flow_id in (None, requested.flow_id)
        and webhook.deployment_id in (None, requested.deployment_id)
    )


def _targets(
    event: RunEvent, requested: RequestedData, append: Append, shelf: Shelf | None
) -> Iterator[tuple[Target, str, bool]]:
    name = event_name(event)
    if name is None:
        return
    for webhook in shelf.webhooks.values() if shelf else ():
        if webhook.active and event.at >= webhook.created_at - _SKEW and wants(webhook, name, requested):
            yield ToWebhook(webhook_id=webhook.id), name, False
    if isinstance(event, RunCompleted | RunFailed | RunCancelled):
        yield from ((target, RUN_ENDED, False) for target in _audience(requested, append, shelf))
        deployment = shelf.deployments.get(requested.deployment_id) if shelf else None
        if deployment is not None and deployment.email is not None:
            yield ToEmail(to=deployment.email.to, subject=deployment.email.subject), RUN_ENDED, True


def _audience(requested: RequestedData, append: Append, shelf: Shelf | None) -> Iterable[Target]:
    """Those that the run, its flow's outputs and its deployment name; each of them is told."""
    deployment = shelf.deployments.get(requested.deployment_id) if shelf else None
    if append.audience is not None:
        yield from (ToCallback(url=url) for url in append.audience.callback_urls)
        yield from (ToEmail(to=mail.to, subject=mail.subject) for mail in append.audience.emails)
    if deployment is not None and deployment.callback_url:
        yield ToCallback(url=deployment.callback_url)
