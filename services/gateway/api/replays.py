"""Replay: a run again from some node on, with everything before it taken from the log."""

from typing import Any

import msgspec

from libs.edge.problems import Detail, Problem, not_found
from libs.edge.routes import Call, Reply, Route, require
from libs.edge.run_events import readable_run
from libs.events.managed import Deployment
from libs.events.run import Run, RunState
from libs.events.run_events import ReplayOf
from libs.events.subjects import RunKey
from services.gateway.acceptance import IDEMPOTENCY, Asked, accept, deployed_flow
from services.gateway.answers import headers_of, read_state, standing
from services.gateway.state import Gateway


class ReplayBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From where, in which version, with which changes. Without `from_node`: where the run failed, else the start."""

    from_node: str | None = None
    version: int | None = None
    tweaks: dict[str, dict[str, Any]] = {}


async def replay_run(call: Call[Gateway]) -> Reply:
    """Start a new run with the input of an earlier one."""
    require(call.caller, "execute")
    source = RunKey(call.caller.workspace, call.path("run_id"))
    await readable_run(call, call.app.log, source)
    state, _ = await read_state(call.app, source)
    body: ReplayBody = call.body
    deployment = _deployment(call, state, body)
    flow = await deployed_flow(call.app, deployment)
    from_node = body.from_node or _failed_node(state)
    if from_node is not None and from_node not in flow.nodes:
        detail = f"there is no node `{from_node[:64]}` in version {deployment.version}"
        raise Problem("invalid_input", f"/from_node: {detail}.", [Detail(pointer="/from_node", detail=detail)])
    asked = Asked(
        input=state.requested.input,
        body=body,
        mode="async",
        session_id=state.requested.session_id,
        tweaks=body.tweaks or state.requested.tweaks,
        metadata=state.requested.metadata,
        replay=None if from_node is None else ReplayOf(run_id=source.run_id, from_node=from_node),
        pointer="/input",
    )
    accepted = await accept(call, call.caller, deployment, asked)
    location = {"Location": f"/v1/runs/{accepted.run.run_id}"}
    return Reply(status=202, body=await standing(call.app, accepted), headers={**location, **headers_of(accepted)})


def _deployment(call: Call[Gateway], state: RunState, body: ReplayBody) -> Deployment:
    """The run's deployment as it was for that run, or at another version; it need not be active."""
    found = call.app.directory.deployment(call.caller.workspace, state.requested.deployment_id)
    head = call.app.directory.flow(call.caller.workspace, state.requested.flow_id)
    if found is None or head is None:
        raise not_found("deployment any more")
    version = body.version or state.requested.version
    if not 1 <= version <= head.version:
        detail = f"must be from 1 to {head.version}"
        raise Problem("invalid_input", f"/version: {detail}.", [Detail(pointer="/version", detail=detail)])
    return msgspec.structs.replace(found, version=version)


def _failed_node(state: RunState) -> str | None:
    """The node that a failed run failed at."""
    return next((node_id for node_id, n in state.nodes.items() if n.status == "failed" and not n.continued), None)


ROUTES = (
    Route(
        method="POST",
        path="/v1/runs/{run_id}/replay",
        handler=replay_run,
        summary="Run again from a node on, the nodes before it taken from the log",
        tag="runs",
        permission="execute",
        body=ReplayBody,
        answer=Run,
        status=202,
        headers=IDEMPOTENCY,
    ),
)
