"""What a receiver makes of a delivery: its id, its body, and whether it is signed."""

import json
from typing import Any

from headgate_client import verify_webhook

from tests.e2e.caller import Caller, until
from tests.e2e.flows import chain, output, template
from tests.e2e.target import Received


def greeting() -> dict[str, Any]:
    """A flow that answers `Hello, x!`."""
    return chain(template("hi", "Hello, {{ in.text }}!"), output("{{ hi.text }}"))


def body(received: Received) -> dict[str, Any]:
    """The body, read."""
    found: dict[str, Any] = json.loads(received.body)
    return found


def message_id(received: Received) -> str:
    """The `webhook-id`."""
    return received.headers["webhook-id"]


def verified(received: Received, secret: str) -> dict[str, Any]:
    """The body, once a client's own check has let it pass."""
    found: dict[str, Any] = verify_webhook(received.body, received.headers, secret)
    return found


async def webhook(caller: Caller, url: str, *events: str, **more: Any) -> dict[str, Any]:
    """A registered webhook that every process knows."""
    made = await caller.call("POST", "/v1/webhooks", {"url": url, "events": list(events), **more})
    assert made.status == 201, made.body
    found: dict[str, Any] = made.body
    return found


async def delivery(caller: Caller, webhook_id: str, status: str) -> dict[str, Any]:
    """The webhook's only delivery, with its attempts, once it stands so."""
    found: list[dict[str, Any]] = []

    async def stands() -> bool:
        listed = await caller.call("GET", f"/v1/webhooks/{webhook_id}/deliveries")
        found[:] = [each for each in listed.body["data"] if each["status"] == status]
        return bool(found)

    await until(stands)
    (one,) = found
    answer = await caller.call("GET", f"/v1/deliveries/{one['id']}")
    assert answer.status == 200
    whole: dict[str, Any] = answer.body
    return whole
