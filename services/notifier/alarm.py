"""Sends alerts: each is stored as a delivery that is due now, and goes the way of any other."""

from datetime import datetime

from libs.events.broker import Broker
from libs.events.deliveries import KIND, Delivery, ToWebhook, encode_delivery
from libs.events.timers import due_now
from services.notifier.alerts import Alerts


class Alarm:
    """Raised by whoever sees that something is over that should not be."""

    def __init__(self, broker: Broker, alerts: Alerts) -> None:
        self._broker = broker
        self._alerts = alerts

    async def disabled(self, delivery: Delivery, reason: str, now: datetime) -> None:
        """The webhook of a delivery was taken out of service."""
        if isinstance(delivery.target, ToWebhook):
            await self._send(self._alerts.disabled(delivery.workspace, delivery.target, reason, now))

    async def given_up(self, delivery: Delivery, reason: str, now: datetime) -> None:
        """A delivery is not tried any more."""
        await self._send(self._alerts.given_up(delivery, reason, now))

    async def _send(self, alert: Delivery | None) -> None:
        if alert is not None:
            await due_now(self._broker, KIND, alert.id, encode_delivery(alert))
            self._alerts.told(alert)
