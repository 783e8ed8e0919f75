"""Runs: ask for one, wait for it, watch it, find it, cancel it."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import structlog
from aiohttp import web

from libs.catalog.versions import UnknownVersion
from libs.edge.problems import Problem
from libs.edge.routes import Call, Reply, Route, require
from libs.edge.run_events import RUN_HEADER, readable_run, stream_run
from libs.events.appends import Conflict
from libs.events.broker import Unavailable
from libs.events.managed import Mode
from libs.events.metrics import ENDED
from libs.events.run import Run, RunState, close, evolve, requested_audience, run_of
from libs.events.run_events import Append, encode_event
from libs.events.subjects import CANCEL, Kind, RunKey, answer_subject
from services.gateway.acceptance import IDEMPOTENCY, Asked, SessionId, accept, callable_deployment
from services.gateway.answers import finished, headers_of, read_run, read_state, standing
from services.gateway.read_models.runs import RunQuery
from services.gateway.state import Gateway
from services.gateway.targets import CallbackUrl

_CANCEL_TRIES = 50

log = structlog.get_logger()


class RunBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run is asked for with."""

    input: Annotated[Any, msgspec.Meta(description="An object with the fields of the flow's api_input.")] = {}
    session_id: SessionId | None = None
    tweaks: Annotated[
        dict[str, dict[str, Any]], msgspec.Meta(description="Changes of nodes' config for this run, by node id.")
    ] = {}
    mode: Mode | None = None
    metadata: Annotated[dict[str, Any], msgspec.Meta(description="Kept with the run and shown with it.")] = {}
    callback_url: CallbackUrl | None = None


class RunList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs."""

    data: list[Run]
    next_cursor: str | None


async def start_run(call: Call[Gateway]) -> Reply | web.StreamResponse:
    """Accept a run and answer as its mode says."""
    body: RunBody = call.body
    caller, deployment = callable_deployment(call, call.path("deployment_id"))
    asked = Asked(
        input=body.input,
        body=body,
        mode=body.mode,
        session_id=body.session_id,
        tweaks=body.tweaks,
        metadata=body.metadata,
        callback_url=body.callback_url,
    )
    mode = body.mode or deployment.mode
    if mode == "stream":
        call.needs_connection()
    accepted = await accept(call, caller, deployment, asked, waits=mode == "sync")
    if mode == "stream":
        return await stream_run(call.request, call.app, accepted.run, 0, accepted.first)
    run = await finished(call.app, accepted) if mode == "sync" else None
    if run is not None:
        return Reply(body=run, headers=headers_of(accepted))
    location = {"Location": f"/v1/runs/{accepted.run.run_id}"}
    run = await standing(call.app, accepted, moved=mode == "sync")
    return Reply(status=202, body=run, headers={**location, **headers_of(accepted)})


async def list_runs(call: Call[Gateway]) -> Reply:
    """The runs table. A key that may only execute sees the runs of what it may start."""
    if "execute" not in call.caller.permissions:
        require(call.caller, "read")
    query: RunQuery = call.query
    return Reply(body=await call.app.runs.page(call.caller.workspace, query, call.caller.deployment_ids))


async def get_run(call: Call[Gateway]) -> Reply:
    """One run, read from the log: never older than what a caller was told."""
    run = await read_run(call, call.path("run_id"))
    return Reply(body=run, headers={RUN_HEADER: run.id})


async def cancel_run(call: Call[Gateway]) -> Reply:
    """End the run now: the append that says so is the last the log takes, so nothing of it can start after."""
    require(call.caller, "execute")
    run = RunKey(call.caller.workspace, call.path("run_id"))
    first = await readable_run(call, call.app.log, run)
    state = await _cancel(call, run, first.trace)
    await _tell(call.app, first, state)
    return Reply(status=202, body=run_of(state), headers={RUN_HEADER: run.run_id})


async def _cancel(call: Call[Gateway], run: RunKey, trace: str | None) -> RunState:
    app = call.app
    for _ in range(_CANCEL_TRIES):
        state, sequence = await read_state(app, run)
        if state.end is not None:
            raise Problem("conflict", "The run has already ended.", headers={RUN_HEADER: run.run_id})
        events = close(state, await _nodes(app, run, state), None, datetime.now(UTC))
        append = Append(
            by=call.caller.key_id,
            address=call.address,
            events=events,
            trace=trace,
            audience=requested_audience(state.requested),
        )
        try:
            await app.log.append(run, Kind.ENDED, append, after=sequence)
        except Conflict:
            continue
        for event in events:
            evolve(state, event)
        ENDED["cancelled"].inc()
        log.info("run ended", run_id=run.run_id, flow_id=state.requested.flow_id, outcome="cancelled")
        return state
    raise Problem("unavailable", "The run moves too fast to be cancelled now; try again.")


async def _tell(app: Gateway, first: Append, state: RunState) -> None:
    """Those who work on the run and those who wait for it; both would find out by themselves, later."""
    try:
        await app.broker.publish(CANCEL, state.run_id.encode())
        if first.reply is not None and state.end is not None:
            await app.broker.publish(answer_subject(first.reply, state.run_id), encode_event(state.end))
    except Unavailable:
        pass


async def _nodes(app: Gateway, run: RunKey, state: RunState) -> list[str]:
    try:
        flow = await app.versions.get(run.workspace, state.requested.flow_id, state.requested.version)
    except UnknownVersion:
        return list(state.nodes)
    return [node.id for node in flow.flow.nodes]


ROUTES = (
    Route(
        method="POST",
        path="/v1/deployments/{deployment_id}/runs",
        handler=start_run,
        summary="Start a run; the mode decides whether the answer is the result, a receipt or a stream",
        tag="runs",
        permission="execute",
        plain=True,
        anonymous=True,
        body=RunBody,
        answer=Run,
        also={202: "The run was accepted and goes on; `Location` says where to ask for it."},
        content_types=("application/json", "text/event-stream"),
        headers=IDEMPOTENCY,
    ),
    Route(
        method="GET",
        path="/v1/runs",
        handler=list_runs,
        summary="The runs table, newest first",
        tag="runs",
        permission=None,
        query=RunQuery,
        answer=RunList,
    ),
    Route(
        method="GET",
        path="/v1/runs/{run_id}",
        handler=get_run,
        summary="One run",
        tag="runs",
        permission=None,
        answer=Run,
    ),
    Route(
        method="POST",
        path="/v1/runs/{run_id}/cancel",
        handler=cancel_run,
        summary="Cancel a run",
        tag="runs",
        permission="execute",
        answer=Run,
        status=202,
    ),
)
