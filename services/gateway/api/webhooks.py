"""Webhooks: who is told of what happens to runs. The notifier tells; here is said whom, and of what."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from libs.edge.problems import Problem, not_found
from libs.edge.routes import Call, Reply, Route
from libs.events.deliveries import KIND, Delivery, ToWebhook, encode_delivery
from libs.events.managed import Permission, Webhook, WebhookEvent
from libs.events.timers import due_now
from libs.runtime.ids import new_id
from libs.runtime.secrets import signing_secret
from services.gateway.paging import PageQuery, page
from services.gateway.state import Gateway
from services.gateway.targets import WebhookUrl, check_target

ROTATION = timedelta(days=1)
"""How long the secret before signs too."""

_MAX_WEBHOOKS = 2000

Events = Annotated[
    tuple[WebhookEvent, ...], msgspec.Meta(min_length=1, max_length=4, description="What it is told of.")
]
Description = Annotated[str, msgspec.Meta(max_length=1000)]
Id = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]


class WebhookBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a webhook is made with. Without a flow and a deployment it hears of all of the workspace's runs."""

    url: WebhookUrl
    events: Events
    description: Description = ""
    flow_id: Id | None = None
    deployment_id: Id | None = None


class WebhookPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be changed; `active` true puts one back that was disabled."""

    url: WebhookUrl | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    flow_id: Id | UnsetType | None = UNSET
    deployment_id: Id | UnsetType | None = UNSET
    active: bool | UnsetType = UNSET


class WebhookAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A webhook. `secret` appears when it is made, and when it is rotated."""

    id: str
    url: str
    events: tuple[WebhookEvent, ...]
    description: str
    flow_id: str | None
    deployment_id: str | None
    active: bool
    disabled_reason: str | None
    created_at: datetime
    updated_at: datetime
    secret: str | None = None


class WebhookList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of webhooks."""

    data: list[WebhookAnswer]
    next_cursor: str | None


class TestAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The delivery of a test, which is on its way."""

    delivery_id: str
    status: str = "pending"


async def create_webhook(call: Call[Gateway]) -> Reply:
    """Register an address. Its secret is shown in this answer, and not again."""
    body: WebhookBody = call.body
    made = await register(call, body)
    return Reply(status=201, body=made, headers={"Location": f"/v1/webhooks/{made.id}"})


async def list_webhooks(call: Call[Gateway]) -> Reply:
    """The workspace's webhooks, newest first."""
    found = call.app.directory.webhooks(call.caller.workspace)
    return Reply(body=page(found, call.query, lambda w: (w.created_at, w.id), show))


async def get_webhook(call: Call[Gateway]) -> Reply:
    """One webhook."""
    return Reply(body=show(find_webhook(call)))


async def change_webhook(call: Call[Gateway]) -> Reply:
    """Change it; what is under way goes to where it points then."""
    patch: WebhookPatch = call.body
    found = find_webhook(call)
    given = {name: value for name, value in msgspec.structs.asdict(patch).items() if value is not UNSET}
    if "url" in given:
        check_target(call.app, given["url"], "/url")
    if "flow_id" in given:
        given["flow_id"] = _flow_id(call, given["flow_id"])
    if "deployment_id" in given:
        given["deployment_id"] = _deployment_id(call, given["deployment_id"])
    if "active" in given:
        given["disabled_reason"] = None
    return Reply(body=show(await _change(call, "webhook.changed", found, lambda _: given)))


async def rotate_secret(call: Call[Gateway]) -> Reply:
    """Give it a new secret. For a day both sign, so a receiver may change over when it likes."""
    found = find_webhook(call)
    until = datetime.now(UTC) + ROTATION

    def decide(latest: Webhook) -> dict[str, Any]:
        return {"signing_generation": latest.signing_generation + 1, "previous_until": until}

    newer = await _change(call, "webhook.rotated", found, decide)
    return Reply(body=with_secret(call, newer))


async def delete_webhook(call: Call[Gateway]) -> Reply:
    """Delete it; what it has not been told yet it is not told."""
    directory = call.app.directory
    deleted = await directory.delete("webhook.deleted", find_webhook(call), call.caller.key_id, call.address)
    if deleted is None:
        raise not_found("webhook")
    return Reply(status=204)


async def test_webhook(call: Call[Gateway]) -> Reply:
    """Send a signed test now, once; what came of it is among the deliveries."""
    found = find_webhook(call)
    delivery = Delivery(
        id=new_id("dlv"),
        workspace=found.workspace,
        target=ToWebhook(webhook_id=found.id),
        event="test",
        created_at=datetime.now(UTC),
        flow_id=found.flow_id or "",
        deployment_id=found.deployment_id or "",
        asked_for=1,
    )
    await due_now(call.app.broker, KIND, delivery.id, encode_delivery(delivery))
    return Reply(status=202, body=TestAnswer(delivery_id=delivery.id))


async def register(call: Call[Gateway], body: WebhookBody) -> WebhookAnswer:
    """Make a webhook. Problems: `egress_refused`, `not_found` for a flow or a deployment, `conflict` for too many."""
    check_target(call.app, body.url, "/url")
    flow_id, deployment_id = _flow_id(call, body.flow_id), _deployment_id(call, body.deployment_id)
    if len(call.app.directory.webhooks(call.caller.workspace)) >= _MAX_WEBHOOKS:
        raise Problem("conflict", f"A workspace has at most {_MAX_WEBHOOKS} webhooks; delete one first.")
    now = datetime.now(UTC)
    webhook = Webhook(
        id=new_id("whk"),
        workspace=call.caller.workspace,
        url=body.url,
        events=tuple(dict.fromkeys(body.events)),
        created_at=now,
        updated_at=now,
        description=body.description,
        flow_id=flow_id,
        deployment_id=deployment_id,
    )
    await call.app.directory.write("webhook.created", webhook, call.caller.key_id, call.address, after=0)
    return with_secret(call, webhook)


def find_webhook(call: Call[Gateway]) -> Webhook:
    """The webhook that the path names."""
    found = call.app.directory.webhook(call.caller.workspace, call.path("webhook_id"))
    if found is None:
        raise not_found("webhook")
    return found


def show(webhook: Webhook) -> WebhookAnswer:
    """The webhook as callers see it."""
    names = WebhookAnswer.__struct_fields__
    return WebhookAnswer(**{name: getattr(webhook, name) for name in names if name != "secret"})


def with_secret(call: Call[Gateway], webhook: Webhook) -> WebhookAnswer:
    """The same with the secret that signs from now on."""
    secret = signing_secret(call.app.settings.master_secret, webhook.id, webhook.signing_generation)
    return msgspec.structs.replace(show(webhook), secret=secret)


async def _change(
    call: Call[Gateway], kind: str, webhook: Webhook, decide: Callable[[Webhook], dict[str, Any]]
) -> Webhook:
    newer = await call.app.directory.change(kind, webhook, call.caller.key_id, call.address, decide)
    if newer is None:
        raise not_found("webhook")
    return newer


def _flow_id(call: Call[Gateway], id_or_slug: str | None) -> str | None:
    if id_or_slug is None:
        return None
    found = call.app.directory.flow(call.caller.workspace, id_or_slug)
    if found is None:
        raise not_found("flow")
    return found.id


def _deployment_id(call: Call[Gateway], id_or_flow: str | None) -> str | None:
    if id_or_flow is None:
        return None
    found = call.app.directory.deployment(call.caller.workspace, id_or_flow)
    if found is None:
        raise not_found("deployment")
    return found.id


def webhook_route(method: str, path: str, handler: Any, summary: str, **more: Any) -> Route:
    """A call about webhooks or deliveries: the whole workspace's, so not for keys that are bound to deployments."""
    permission: Permission = "read" if method == "GET" else "write"
    return Route(
        method=method,
        path=path,
        handler=handler,
        summary=summary,
        tag="webhooks",
        permission=permission,
        unbound=True,
        **more,
    )


ROUTES: Sequence[Route] = (
    webhook_route(
        "POST", "/v1/webhooks", create_webhook, "Make a webhook", body=WebhookBody, answer=WebhookAnswer, status=201
    ),
    webhook_route("GET", "/v1/webhooks", list_webhooks, "List webhooks", query=PageQuery, answer=WebhookList),
    webhook_route("GET", "/v1/webhooks/{webhook_id}", get_webhook, "One webhook", answer=WebhookAnswer),
    webhook_route(
        "PATCH",
        "/v1/webhooks/{webhook_id}",
        change_webhook,
        "Change a webhook, or put it back into service",
        body=WebhookPatch,
        answer=WebhookAnswer,
    ),
    webhook_route("DELETE", "/v1/webhooks/{webhook_id}", delete_webhook, "Delete a webhook", status=204),
    webhook_route(
        "POST",
        "/v1/webhooks/{webhook_id}/rotate-secret",
        rotate_secret,
        "Give a webhook a new secret; for a day both sign",
        answer=WebhookAnswer,
    ),
    webhook_route(
        "POST",
        "/v1/webhooks/{webhook_id}/test",
        test_webhook,
        "Send a signed test now",
        answer=TestAnswer,
        status=202,
    ),
)
