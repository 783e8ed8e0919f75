"""Runs: ask for one, wait for it, watch it, find it, cancel it."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from aiohttp import web

from libs.catalog.versions import UnknownVersion
from libs.edge.problems import Problem
from libs.edge.routes import Call, Reply, Route, require
from libs.edge.run_events import RUN_HEADER, readable_run, stream_run
from libs.events.broker import Unavailable
from libs.events.log import Conflict
from libs.events.managed import Mode
from libs.events.run import Run, RunState, close, ended_run, evolve, fold, run_of
from libs.events.run_events import Append, encode_event
from libs.events.subjects import CANCEL, Kind, RunKey, answer_subject
from services.gateway.acceptance import Accepted, Asked, accept, find_deployment
from services.gateway.read_models.runs import RunQuery
from services.gateway.state import Gateway

_REPLAYED = "Idempotent-Replayed"
_CANCEL_TRIES = 50

SessionId = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_.:-]{1,128}$")]


class RunBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a run is asked for with."""

    input: Annotated[Any, msgspec.Meta(description="An object with the fields of the flow's api_input.")] = {}
    session_id: SessionId | None = None
    tweaks: Annotated[
        dict[str, dict[str, Any]], msgspec.Meta(description="Changes of nodes' config for this run, by node id.")
    ] = {}
    mode: Mode | None = None
    metadata: Annotated[dict[str, Any], msgspec.Meta(description="Kept with the run and shown with it.")] = {}


class RunList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of runs."""

    data: list[Run]
    next_cursor: str | None


async def start_run(call: Call[Gateway]) -> Reply | web.StreamResponse:
    """Accept a run and answer as its mode says."""
    body: RunBody = call.body
    deployment = find_deployment(call, call.path("deployment_id"))
    asked = Asked(
        input=body.input,
        body=body,
        mode=body.mode,
        session_id=body.session_id,
        tweaks=body.tweaks,
        metadata=body.metadata,
    )
    mode = body.mode or deployment.mode
    if mode != "sync":
        accepted = await accept(call, deployment, asked)
        if mode == "stream":
            return await stream_run(call.request, call.app, accepted.run, 0)
        return await _submitted(call.app, accepted)
    return await _finished(call.app, await accept(call, deployment, asked, waits=True))


async def _finished(app: Gateway, accepted: Accepted) -> Reply:
    """Wait for the run's end; past the deployment's time, answer with the run as it is."""
    seconds = accepted.deployment.sync_timeout_seconds or app.settings.sync_timeout_seconds
    wait = app.waiting.end_of_earlier if accepted.replayed else app.waiting.end
    end = await wait(accepted.run, seconds)
    if end is None:
        return await _submitted(app, accepted, moved=True)
    run = ended_run(accepted.run.run_id, accepted.requested.data, accepted.requested.at, end)
    return Reply(body=run, headers=_headers(accepted))


async def _submitted(app: Gateway, accepted: Accepted, *, moved: bool = False) -> Reply:
    """The run as it is; `moved`: it may have begun since it was accepted, so the log is asked."""
    run = await _as_it_is(app, accepted) if moved or accepted.replayed else _queued(accepted)
    location = f"/v1/runs/{accepted.run.run_id}"
    return Reply(status=202, body=run, headers={"Location": location, **_headers(accepted)})


async def _as_it_is(app: Gateway, accepted: Accepted) -> Run:
    try:
        return run_of((await _read(app, accepted.run))[0])
    except Unavailable:
        # The run exists, whatever cannot be read of it now: an error would make the caller ask for another one.
        return _queued(accepted)


def _queued(accepted: Accepted) -> Run:
    requested = accepted.requested
    return run_of(RunState(run_id=requested.run_id, requested=requested.data, requested_at=requested.at, seq=1))


def _headers(accepted: Accepted) -> dict[str, str]:
    replayed = {_REPLAYED: "true"} if accepted.replayed else {}
    return {RUN_HEADER: accepted.run.run_id, **replayed}


async def list_runs(call: Call[Gateway]) -> Reply:
    """The runs table. A key that may only execute sees the runs of what it may start."""
    if "execute" not in call.caller.permissions:
        require(call.caller, "read")
    query: RunQuery = call.query
    return Reply(body=await call.app.runs.page(call.caller.workspace, query, call.caller.deployment_ids))


async def get_run(call: Call[Gateway]) -> Reply:
    """One run, read from the log: never older than what a caller was told."""
    run = RunKey(call.caller.workspace, call.path("run_id"))
    await readable_run(call, call.app.log, run)
    state, _ = await _read(call.app, run)
    return Reply(body=run_of(state), headers={RUN_HEADER: run.run_id})


async def cancel_run(call: Call[Gateway]) -> Reply:
    """End the run now: the append that says so is the last the log takes, so nothing of it can start after."""
    require(call.caller, "execute")
    run = RunKey(call.caller.workspace, call.path("run_id"))
    first = await readable_run(call, call.app.log, run)
    state = await _cancel(call.app, run, call.caller.key_id, call.address)
    await _tell(call.app, first, state)
    return Reply(status=202, body=run_of(state), headers={RUN_HEADER: run.run_id})


async def _cancel(app: Gateway, run: RunKey, by: str, address: str) -> RunState:
    for _ in range(_CANCEL_TRIES):
        state, sequence = await _read(app, run)
        if state.end is not None:
            raise Problem("conflict", "The run has already ended.", headers={RUN_HEADER: run.run_id})
        events = close(state, await _nodes(app, run, state), None, datetime.now(UTC))
        append = Append(by=by, address=address, events=events)
        try:
            await app.log.append(run, Kind.ENDED, append, after=sequence)
        except Conflict:
            continue
        for event in events:
            evolve(state, event)
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


async def _read(app: Gateway, run: RunKey) -> tuple[RunState, int]:
    """The run's state, and the sequence of its last message."""
    messages = await app.log.read(run)
    return fold([message.payload for message in messages]), messages[-1].sequence


IDEMPOTENCY = {"Idempotency-Key": "1 to 255 characters; the same key and body start one run, however often sent."}

ROUTES = (
    Route(
        method="POST",
        path="/v1/deployments/{deployment_id}/runs",
        handler=start_run,
        summary="Start a run; the mode decides whether the answer is the result, a receipt or a stream",
        tag="runs",
        permission="execute",
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
