"""Alerts: whom an operator is told of, how often, and what the mail says."""

from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import cast

import msgspec
import pytest

from libs.events.deliveries import Delivery, ToCallback, ToEmail, ToWebhook, decode_due, encode_delivery
from libs.runtime.mail_addresses import Sender
from services.notifier.alerts import ALERT, Alerts, alert_delivery
from services.notifier.channels.email import EmailChannel
from tests.notifier.mails import AT, delivery

OPERATORS = ["ops@example.test", "night@example.test"]
EMAIL = EmailChannel(None, sender=Sender(address="no-reply@sender.test"), public_url="")


def disabled(alerts: Alerts, days: int = 0) -> Delivery | None:
    return alerts.disabled(
        "ws_1", ToWebhook(webhook_id="wh_1"), "it failed for five days: 503", AT + timedelta(days=days)
    )


def test_an_alert_is_a_delivery_to_the_operators() -> None:
    alert = disabled(Alerts(OPERATORS))
    assert alert is not None
    assert alert.target == ToEmail(
        to="ops@example.test, night@example.test",
        subject="Headgate: webhook wh_1 was disabled: it failed for five days: 503",
    )
    assert (alert.event, alert.channel, alert.workspace, alert.run_id) == (ALERT, "email", "ws_1", "")


def test_the_mail_is_made_of_the_delivery_alone() -> None:
    alert = disabled(Alerts(OPERATORS))
    assert alert is not None
    mail = EMAIL.compose(decode_due(encode_delivery(alert))[0], None)
    message = cast(EmailMessage, message_from_bytes(mail, policy=default))
    assert message["To"] == "ops@example.test, night@example.test"
    assert message["Subject"] == "Headgate: webhook wh_1 was disabled: it failed for five days: 503"
    for kind in ("plain", "html"):
        body = message.get_body((kind,))
        assert isinstance(body, EmailMessage)
        assert "webhook wh_1 was disabled: it failed for five days: 503" in body.get_content()
        assert "ws_1" in body.get_content()


def test_of_one_receiver_there_is_one_alert_a_day_once_it_is_stored() -> None:
    alerts = Alerts(OPERATORS)
    first = disabled(alerts)
    assert first is not None
    assert disabled(alerts) == first, "what was not stored yet is made again, the same"
    alerts.told(first)
    assert disabled(alerts) is None
    tomorrow = disabled(alerts, days=1)
    assert tomorrow is not None
    assert tomorrow.id != first.id
    assert disabled(Alerts(OPERATORS)) == first, "another process makes the same mail"


def test_a_delivery_that_is_given_up_is_told_and_an_alert_is_not() -> None:
    alerts = Alerts(OPERATORS)
    given_up = alerts.given_up(delivery(), "the mail server refused the mail", AT)
    assert given_up is not None
    assert isinstance(given_up.target, ToEmail)
    assert given_up.target.subject == (
        "Headgate: email to ada@example.test got no run_ended: the mail server refused the mail"
    )
    assert (given_up.flow_id, given_up.deployment_id, given_up.run_id) == ("flow_1", "dep_1", "")
    assert alerts.given_up(given_up, "the mail server refused the mail", AT) is None
    assert alerts.given_up(delivery(event="test"), "no", AT) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://cb.test/token-hush?key=hush",
        "https://user:hush@cb.test#hush",
        "https://cb.test?hush",
        "https://[::1/hush",
    ],
)
def test_a_callback_is_named_without_what_may_be_secret(url: str) -> None:
    failed = msgspec.structs.replace(delivery(), target=ToCallback(url=url))
    alert = Alerts(OPERATORS).given_up(failed, "no", AT)
    assert alert is not None
    assert b"hush" not in encode_delivery(alert)
    assert b"callback to https://" in encode_delivery(alert)


def test_without_operators_there_are_no_alerts() -> None:
    assert disabled(Alerts([])) is None
    webhook = ToWebhook(webhook_id="wh_1")
    assert alert_delivery([], workspace="ws_1", about=webhook, what="x", reason="y", at=AT) is None
