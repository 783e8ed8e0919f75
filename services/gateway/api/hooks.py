"""The hook of a deployment: an external service posts any JSON, signed or with a key, and a run begins."""

import time
from typing import Any

import msgspec

from libs.edge.bodies import decode, invalid, read_body
from libs.edge.problems import Detail, Problem
from libs.edge.routes import ANONYMOUS, Call, Reply, Route
from libs.events.auth_calls import Principal
from libs.events.managed import Deployment
from libs.flows import CompiledFlow, input_schema
from services.gateway.acceptance import IDEMPOTENCY, Asked, accept, callable_deployment, deployed_flow, in_service
from services.gateway.answers import headers_of
from services.gateway.signatures import NotGenuine, delivery_of, is_signed
from services.gateway.state import Gateway

_BY = "hook"
"""Who asked for a run, where a signature stands for a key."""


class HookAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The receipt. `replayed`: this delivery came before, and the run is the one that it began."""

    run_id: str
    replayed: bool


async def receive(call: Call[Gateway]) -> Reply:
    """Start a run with the body as its input, whatever else is in it. A right signature stands for the key.

    A delivery that comes again, by its `webhook-id` or its signature, is answered with the run that it began. A
    signature that is sent is checked beside a key, too.
    """
    name, headers, key = call.path("deployment_id"), call.request.headers, None
    deployment = call.app.directory.verifying_deployment(name) if call.caller is ANONYMOUS else None
    if deployment is not None and is_signed(deployment.incoming, headers):
        limits = call.app.directory.workspace_limits(deployment.workspace)
        caller = msgspec.structs.replace(ANONYMOUS, key_id=_BY, workspace=deployment.workspace, limits=limits)
    else:
        caller, deployment = callable_deployment(call, name)
        if call.caller is ANONYMOUS and deployment.incoming.verify != "none":
            raise _unauthorized("deliveries to this hook are signed, or have a key")
    body = await read_body(call.request, call.app.settings.max_body_bytes)
    if is_signed(deployment.incoming, headers):
        key = await _verified(call, deployment, body)
        call.act_for(caller)  # not before: what is left of a workspace's limits is not for whoever knows its addresses
    return await _accepted(call, caller, in_service(deployment), body, key)


async def _verified(call: Call[Gateway], deployment: Deployment, body: bytes) -> str:
    """What tells this delivery from others. Problem `unauthorized` unless the secret's holder sent it."""
    incoming = deployment.incoming
    name = incoming.secret_name or ""
    secret = (await call.app.hook_secrets.read(deployment.workspace, frozenset({name}))).get(name)
    if secret is None:
        raise _unauthorized("the secret that verifies this hook is not set")
    try:
        delivery = delivery_of(incoming, call.request.headers, body, secret, time.time())
    except NotGenuine as error:
        raise _unauthorized(str(error)) from None
    return f"{_BY}\n{delivery}"  # a line break is in no Idempotency-Key: a caller's own cannot be the same


async def _accepted(
    call: Call[Gateway], caller: Principal, deployment: Deployment, raw: bytes, key: str | None
) -> Reply:
    body: Any = decode(raw, Any)
    given = _input(await deployed_flow(call.app, deployment), deployment.incoming.field, body, raw)
    accepted = await accept(call, caller, deployment, Asked(input=given, body=body, mode="async", key=key, pointer=""))
    run_id = accepted.run.run_id
    headers = {"Location": f"/v1/runs/{run_id}", **headers_of(accepted)}
    return Reply(status=202, body=HookAnswer(run_id=run_id, replayed=accepted.replayed), headers=headers)


def _input(flow: CompiledFlow, field: str | None, body: Any, raw: bytes) -> dict[str, Any]:
    """The input that a body makes: itself, or the field that takes it. A string field takes it as text."""
    if field is not None:
        is_text = input_schema(flow.flow)["properties"].get(field, {}).get("type") == "string"
        return {field: raw.decode() if is_text and not isinstance(body, str) else body}
    if not isinstance(body, dict):
        raise invalid(Detail(pointer="", detail="must be object, unless the deployment's `incoming` names a `field`"))
    return body


def _unauthorized(detail: str) -> Problem:
    return Problem("unauthorized", f"{detail[:1].upper()}{detail[1:]}.")


ROUTES = (
    Route(
        method="POST",
        path="/v1/deployments/{deployment_id}/hook",
        handler=receive,
        summary="Start a run with any JSON, from a service that signs what it sends or has a key",
        tag="runs",
        permission="execute",
        anonymous=True,
        body=Any,
        raw=True,
        answer=HookAnswer,
        status=202,
        headers={
            **IDEMPOTENCY,
            "webhook-id": "Where deliveries are signed by Standard Webhooks: which one this is.",
            "webhook-timestamp": "The same: when it was signed, in seconds since 1970.",
            "webhook-signature": "The same: `v1,…`, or several with spaces between.",
        },
    ),
)
