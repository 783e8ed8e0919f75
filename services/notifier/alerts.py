"""Alerts: the operator is told by mail of what nobody else will be told. An alert is a delivery like any other. Pure.

Its words lie in the delivery: what happened is its subject. Of one receiver there is one alert a day, and its id says
so: whoever comes to it again, in any notifier, makes a delivery of the same id, and so a mail of the same Message-ID.
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime

from libs.events.deliveries import Delivery, Target, ToCallback, ToEmail, ToWebhook
from libs.runtime.ids import derived_id

ALERT = "alert"
"""The event of an alert's delivery."""

_MAX_REASON_CHARACTERS = 500
_REMEMBERED = 10_000


def alert_delivery(
    addresses: Sequence[str],
    *,
    workspace: str,
    about: Target,
    what: str,
    reason: str,
    at: datetime,
    flow_id: str = "",
    deployment_id: str = "",
) -> Delivery | None:
    """The alert that says `what` happened to a receiver and the `reason`; None when nobody wants alerts.

    It names no run: it would be sent as that run's story.
    """
    if not addresses:
        return None
    subject = f"Headgate: {name_of(about)} {what}: {reason[:_MAX_REASON_CHARACTERS]}"
    return Delivery(
        id=derived_id("dlv", ALERT, workspace, name_of(about), what, at.date().isoformat()),
        workspace=workspace,
        target=ToEmail(to=", ".join(addresses), subject=subject),
        event=ALERT,
        created_at=at,
        flow_id=flow_id,
        deployment_id=deployment_id,
    )


def name_of(target: Target) -> str:
    """A receiver as people may read it: of an address only scheme and host, for the rest may be a secret."""
    match target:
        case ToWebhook():
            return f"webhook {target.webhook_id}"
        case ToCallback():
            scheme, _, rest = target.url.partition("://")
            host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
            return f"callback to {scheme}://{host}"
        case ToEmail():
            return f"email to {target.to}"


class Alerts:
    """Who is told of what fails, and what this process told already."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._told: OrderedDict[str, None] = OrderedDict()

    def disabled(self, workspace: str, webhook: ToWebhook, reason: str, at: datetime) -> Delivery | None:
        """The alert that a webhook is not called any more; None when none is to be sent."""
        return self._unless_told(
            alert_delivery(
                self._addresses, workspace=workspace, about=webhook, what="was disabled", reason=reason, at=at
            )
        )

    def given_up(self, delivery: Delivery, reason: str, at: datetime) -> Delivery | None:
        """The alert that a delivery failed for good; None when none is to be sent, and always for alerts and tests."""
        if delivery.event in (ALERT, "test"):
            return None
        return self._unless_told(
            alert_delivery(
                self._addresses,
                workspace=delivery.workspace,
                about=delivery.target,
                what=f"got no {delivery.event}",
                reason=reason,
                at=at,
                flow_id=delivery.flow_id,
                deployment_id=delivery.deployment_id,
            )
        )

    def told(self, alert: Delivery) -> None:
        """The alert is stored: it is not sent again. Before that it is, so that a broker that is away loses none."""
        self._told[alert.id] = None
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)

    def _unless_told(self, alert: Delivery | None) -> Delivery | None:
        return None if alert is None or alert.id in self._told else alert
