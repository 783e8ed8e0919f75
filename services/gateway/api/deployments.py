"""Deployments: a flow's version at an address that others call."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from libs.edge.key_management import issue_deployment_key, withdraw_deployment_key
from libs.edge.problems import Detail, Problem, not_found
from libs.edge.routes import Call, Reply, Route
from libs.events.managed import Deployment, Email, FlowHead, Incoming, Limits, Mode, Permission
from libs.flows import deployable
from libs.runtime.secrets import signing_secret
from services.gateway.api.deployment_settings import (
    DeploymentBody,
    DeploymentPatch,
    changes_of,
    email_from,
    limits_from,
)
from services.gateway.api.deployment_targets import check_targets, put_webhooks
from services.gateway.api.flows import find_flow
from services.gateway.api.incoming import incoming_from
from services.gateway.api.webhooks import WebhookAnswer
from services.gateway.api.webhooks import show as show_webhook
from services.gateway.endpoints import endpoints_of
from services.gateway.paging import PageQuery, page
from services.gateway.state import Gateway


class DeploymentAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A deployment. `api_key`, `signing_secret` and its webhooks' secrets appear once, when they are made."""

    id: str
    flow_id: str
    flow_slug: str
    version: int
    name: str
    type: Literal["production", "test"]
    mode: Mode
    status: Literal["active", "inactive"]
    endpoints: dict[str, str]
    public: bool
    cache_seconds: int
    limits: Limits
    sync_timeout_seconds: float | None
    callback_url: str | None
    email: Email | None
    webhooks: list[WebhookAnswer]
    incoming: Incoming
    created_at: datetime
    updated_at: datetime
    api_key: str | None = None
    signing_secret: str | None = None


class DeploymentList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of deployments."""

    data: list[DeploymentAnswer]
    next_cursor: str | None


async def create_deployment(call: Call[Gateway]) -> Reply:
    """Deploy a version of the flow under a new id, with a key of its own."""
    head = find_flow(call)
    body: DeploymentBody = call.body
    version = body.version or head.version
    await _check_version(call, head, version)
    check_targets(call, body)
    incoming = await incoming_from(call.app, head.workspace, body.incoming)
    now = datetime.now(UTC)
    deployment_id = str(uuid.uuid4())
    name = body.name or f"{head.name} ({body.type})"
    issued = await issue_deployment_key(call.app.broker, call.actor, deployment_id, name)
    deployment = Deployment(
        id=deployment_id,
        workspace=call.caller.workspace,
        flow_id=head.id,
        version=version,
        name=name,
        type=body.type,
        mode=body.mode,
        status="active",
        created_at=now,
        updated_at=now,
        key_id=issued.id,
        public=body.public,
        cache_seconds=body.cache_seconds or 0,
        limits=limits_from(body.limits),
        sync_timeout_seconds=body.sync_timeout_seconds,
        callback_url=body.callback_url,
        email=email_from(body.email),
        incoming=incoming,
    )
    await call.app.directory.write("deployment.created", deployment, call.caller.key_id, call.address, after=0)
    secret = signing_secret(call.app.settings.master_secret, deployment_id, deployment.signing_generation)
    webhooks = await put_webhooks(call, deployment_id, body.webhooks)
    shown = show(call, deployment, webhooks)
    answer = msgspec.structs.replace(shown, api_key=issued.key, signing_secret=secret)
    return Reply(status=201, body=answer, headers={"Location": f"/v1/deployments/{deployment_id}"})


async def list_deployments(call: Call[Gateway]) -> Reply:
    """The workspace's deployments, newest first. A key that is bound to deployments sees those."""
    found = [d for d in call.app.directory.deployments(call.caller.workspace) if _reaches(call, d)]
    return Reply(body=page(found, call.query, lambda d: (d.created_at, d.id), lambda d: show(call, d)))


async def get_deployment(call: Call[Gateway]) -> Reply:
    """One deployment, by its id or its flow's."""
    return Reply(body=show(call, find(call)))


async def change_deployment(call: Call[Gateway]) -> Reply:
    """Change it. The address and the key stay, and the next call meets the change."""
    patch: DeploymentPatch = call.body
    found = find(call)
    if patch.version is not UNSET:
        await _check_version(call, _flow_of(call, found), patch.version)
    check_targets(call, patch)
    prepared = {}
    if patch.incoming is not UNSET:
        prepared["incoming"] = await incoming_from(call.app, found.workspace, patch.incoming)
    webhooks = None if patch.webhooks is UNSET else await put_webhooks(call, found.id, patch.webhooks)
    return await _change(call, "deployment.changed", lambda latest: changes_of(patch, latest) | prepared, webhooks)


async def undeploy(call: Call[Gateway]) -> Reply:
    """Take it out of service; its address answers 404 with code `deployment_inactive` until it is redeployed."""
    return await _change(call, "deployment.undeployed", lambda _: {"status": "inactive"})


async def redeploy(call: Call[Gateway]) -> Reply:
    """Bring it back with the flow's newest version, at the same address."""
    head = _flow_of(call, find(call))
    await _check_version(call, head, head.version)
    return await _change(call, "deployment.redeployed", lambda _: {"status": "active", "version": head.version})


async def delete_deployment(call: Call[Gateway]) -> Reply:
    """Delete it and its key."""
    found = find(call)
    await withdraw_deployment_key(call.app.broker, call.actor, found.id)
    if await call.app.directory.delete("deployment.deleted", found, call.caller.key_id, call.address) is None:
        raise not_found("deployment")
    await put_webhooks(call, found.id, [])
    return Reply(status=204)


def find(call: Call[Gateway]) -> Deployment:
    """The deployment that the path names. Problem `forbidden` where the key is for others."""
    deployment = call.app.directory.deployment(call.caller.workspace, call.path("deployment_id"))
    if deployment is None:
        raise not_found("deployment")
    if not _reaches(call, deployment):
        raise Problem("forbidden", "This key is for another deployment.")
    return deployment


def _reaches(call: Call[Gateway], deployment: Deployment) -> bool:
    return not call.caller.deployment_ids or deployment.id in call.caller.deployment_ids


def show(call: Call[Gateway], deployment: Deployment, webhooks: list[WebhookAnswer] | None = None) -> DeploymentAnswer:
    """The deployment as callers see it; `webhooks` in place of its own as they are, where they have been made now."""
    if webhooks is None:
        webhooks = [show_webhook(w) for w in call.app.directory.webhooks(deployment.workspace, deployment.id)]
    head = call.app.directory.flow(deployment.workspace, deployment.flow_id)
    return DeploymentAnswer(
        id=deployment.id,
        flow_id=deployment.flow_id,
        flow_slug=head.slug if head else "",
        version=deployment.version,
        name=deployment.name,
        type=deployment.type,
        mode=deployment.mode,
        status=deployment.status,
        endpoints=endpoints_of(base_url(call), deployment.id),
        public=deployment.public,
        cache_seconds=deployment.cache_seconds,
        limits=deployment.limits,
        sync_timeout_seconds=deployment.sync_timeout_seconds,
        callback_url=deployment.callback_url,
        email=deployment.email,
        webhooks=webhooks,
        incoming=deployment.incoming,
        created_at=deployment.created_at,
        updated_at=deployment.updated_at,
    )


def base_url(call: Call[Gateway]) -> str:
    """Where callers reach this gateway, as the operator says or else as this caller does."""
    return call.app.settings.public_url.rstrip("/") or f"{call.request.scheme}://{call.request.host}"


async def _change(
    call: Call[Gateway],
    kind: str,
    decide: Callable[[Deployment], dict[str, Any]],
    webhooks: list[WebhookAnswer] | None = None,
) -> Reply:
    newer = await call.app.directory.change(kind, find(call), call.caller.key_id, call.address, decide)
    if newer is None:
        raise not_found("deployment")
    return Reply(body=show(call, newer, webhooks))


def _flow_of(call: Call[Gateway], deployment: Deployment) -> FlowHead:
    head = call.app.directory.flow(deployment.workspace, deployment.flow_id)
    if head is None:
        raise not_found("flow")
    return head


async def _check_version(call: Call[Gateway], head: FlowHead, version: int) -> None:
    """Problem `invalid_input` unless the version exists and may be deployed."""
    if version > head.version:
        detail = f"the flow's newest version is {head.version}"
        raise Problem("invalid_input", f"/version: {detail}.", [Detail(pointer="/version", detail=detail)])
    flow = await call.app.versions.get(head.workspace, head.id, version)
    faults = [Detail(pointer=fault.pointer, detail=fault.detail) for fault in deployable(flow.flow)]
    if faults:
        raise Problem("invalid_input", f"This flow cannot be deployed: {faults[0].detail}.", faults)


def _route(method: str, path: str, handler: Any, summary: str, **more: Any) -> Route:
    permission: Permission = "read" if method == "GET" else "write"
    return Route(
        method=method, path=path, handler=handler, summary=summary, tag="deployments", permission=permission, **more
    )


_ONE = "/v1/deployments/{deployment_id}"

ROUTES = (
    _route(
        "POST",
        "/v1/flows/{flow_id}/deployments",
        create_deployment,
        "Deploy a flow",
        body=DeploymentBody,
        answer=DeploymentAnswer,
        status=201,
        unbound=True,
    ),
    _route("GET", "/v1/deployments", list_deployments, "List deployments", query=PageQuery, answer=DeploymentList),
    _route("GET", _ONE, get_deployment, "One deployment", answer=DeploymentAnswer),
    _route("PATCH", _ONE, change_deployment, "Change a deployment", body=DeploymentPatch, answer=DeploymentAnswer),
    _route("POST", f"{_ONE}/undeploy", undeploy, "Take it out of service", answer=DeploymentAnswer),
    _route("POST", f"{_ONE}/redeploy", redeploy, "Bring the newest version into service", answer=DeploymentAnswer),
    _route("DELETE", _ONE, delete_deployment, "Delete a deployment and its key", status=204),
)
