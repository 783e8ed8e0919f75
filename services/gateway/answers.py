"""What is said of a run that was accepted: its end, waited for, or how it stands. Every dialect renders from these."""

import msgspec

from libs.edge.problems import Problem
from libs.edge.routes import Call
from libs.edge.run_events import RUN_HEADER, readable_run
from libs.events.broker import Unavailable
from libs.events.run import Run, RunState, ended_run, fold, run_of
from libs.events.run_events import RunEnd
from libs.events.subjects import RunKey
from libs.flows import CompiledFlow
from libs.runtime.ids import is_token
from services.gateway.acceptance import Accepted, deployed_flow
from services.gateway.state import Gateway

_REPLAYED = "Idempotent-Replayed"
_CACHE = "Headgate-Cache"


async def finished(app: Gateway, accepted: Accepted) -> Run | None:
    """The run at its end; None when it takes longer than the deployment lets a call wait. It then goes on."""
    if accepted.cached is not None:
        return accepted.cached
    seconds = accepted.deployment.sync_timeout_seconds or app.settings.sync_timeout_seconds
    wait = app.waiting.end_of_earlier if accepted.replayed else app.waiting.end
    end = await wait(accepted.run, seconds)
    if end is None:
        return None
    run = ended(accepted, end)
    if accepted.cache_as is not None and run.status == "completed":
        await app.cache.keep(accepted.cache_as, run, accepted.deployment.cache_seconds)
    return run


def ended(accepted: Accepted, end: RunEnd) -> Run:
    """The run as its end has it."""
    return ended_run(accepted.run.run_id, accepted.requested.data, accepted.requested.at, end)


async def flow_of(app: Gateway, accepted: Accepted) -> CompiledFlow:
    """The version that the run is of: one that was asked for before may be of an earlier one than is deployed now."""
    version = accepted.requested.data.version
    return await deployed_flow(app, msgspec.structs.replace(accepted.deployment, version=version))


async def standing(app: Gateway, accepted: Accepted, *, moved: bool = False) -> Run:
    """The run as it stands; `moved`: it may have begun since it was accepted, so the log is asked."""
    queued = run_of(
        RunState(
            run_id=accepted.run.run_id, requested=accepted.requested.data, requested_at=accepted.requested.at, seq=1
        )
    )
    if not moved and not accepted.replayed:
        return queued
    try:
        return run_of((await read_state(app, accepted.run))[0])
    except Unavailable:
        # The run exists, whatever cannot be read of it now: an error would make the caller ask for another one.
        return queued


async def read_run(call: Call[Gateway], run_id: str) -> Run:
    """A run that the caller may see, read from the log: never older than what a caller was told."""
    if not is_token(run_id):
        raise Problem("not_found", "There is no such run.")
    run = RunKey(call.caller.workspace, run_id)
    await readable_run(call, call.app.log, run)
    return run_of((await read_state(call.app, run))[0])


async def read_state(app: Gateway, run: RunKey) -> tuple[RunState, int]:
    """A run's state, and the sequence of its last message."""
    messages = await app.log.read(run)
    return fold([message.payload for message in messages]), messages[-1].sequence


def headers_of(accepted: Accepted) -> dict[str, str]:
    """The headers of every answer about the run."""
    headers = {RUN_HEADER: accepted.run.run_id}
    if accepted.replayed:
        headers[_REPLAYED] = "true"
    if accepted.cached is not None:
        headers[_CACHE] = "hit"
    return headers
