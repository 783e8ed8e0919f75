"""Whom a deployment tells: its callback, its emails, and webhooks of its own, which are webhooks like any other."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import UNSET

from libs.edge.bodies import invalid
from libs.edge.problems import Detail
from libs.edge.routes import Call
from libs.events.managed import Webhook, WebhookEvent
from libs.flows.templates import InvalidTemplate, compile_template
from libs.runtime.mail_addresses import parse_addresses
from services.gateway.api.deployment_settings import DeploymentBody, DeploymentPatch, EmailBody, WebhookOfDeployment
from services.gateway.api.webhooks import WebhookAnswer, WebhookBody, register, show
from services.gateway.state import Gateway
from services.gateway.targets import check_target


def check_targets(call: Call[Gateway], body: DeploymentBody | DeploymentPatch) -> None:
    """Problems `egress_refused` and `invalid_input` for those that cannot be told."""
    if isinstance(body.callback_url, str):
        check_target(call.app, body.callback_url, "/callback_url")
    if isinstance(body.email, EmailBody):
        _check_email(body.email)
    if body.webhooks is not UNSET:
        for number, webhook in enumerate(body.webhooks):
            check_target(call.app, webhook.url, f"/webhooks/{number}/url")


async def put_webhooks(
    call: Call[Gateway], deployment_id: str, wanted: Sequence[WebhookOfDeployment]
) -> list[WebhookAnswer]:
    """Bring the deployment to have these: by their address, so that one that stays keeps its secret and its past."""
    directory, workspace = call.app.directory, call.caller.workspace
    present = {webhook.url: webhook for webhook in directory.webhooks(workspace, deployment_id)}
    shown = []
    for each in wanted:
        found = present.pop(each.url, None)
        if found is None:
            body = WebhookBody(url=each.url, events=each.events, deployment_id=deployment_id)
            shown.append(await register(call, body))
        else:
            decide = told_of(each.events)
            newer = await directory.change("webhook.changed", found, call.caller.key_id, call.address, decide)
            shown.append(show(newer or found))
    for left in present.values():
        await directory.delete("webhook.deleted", left, call.caller.key_id, call.address)
    return shown


def told_of(events: tuple[WebhookEvent, ...]) -> Callable[[Webhook], dict[str, Any]]:
    """The change that has a webhook be told of these."""
    return lambda _: {"events": events}


def _check_email(email: EmailBody) -> None:
    faults = []
    for name, text in (("to", email.to), ("subject", email.subject)):
        try:
            reads = [reference.root for _, reference in compile_template(text).references]
        except InvalidTemplate as wrong:
            faults += [Detail(pointer=f"/email/{name}", detail=fault.detail) for fault in wrong.faults]
            continue
        if "secret" in reads:
            faults.append(Detail(pointer=f"/email/{name}", detail="can't read secrets: it is stored in the log"))
    if not faults and "{{" not in email.to:
        try:
            parse_addresses(email.to)
        except ValueError as error:
            faults.append(Detail(pointer="/email/to", detail=str(error)))
    if faults:
        raise invalid(*faults)
