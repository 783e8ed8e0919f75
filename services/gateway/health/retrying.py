"""Dead letters once more: back to where their consumer meets them again.

What was taken off a consumer cannot be put back on it, and an append cannot be made twice, for the log compares. So
each kind goes its own way. A run has been ended as failed: it is asked for again as a replay, which takes over the
nodes that had finished. A delivery or a backfill is a timer, and comes due once more. An append that could not be told
is told. Each way may be gone twice: run and timer have ids that follow from the letter.
"""

from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from libs.catalog.versions import UnknownVersion
from libs.edge.problems import Problem
from libs.edge.routes import Call
from libs.events.appends import Conflict
from libs.events.backfills import KIND as BACKFILL
from libs.events.dead_letters import DeadLetter, throw_away
from libs.events.deliveries import KIND as DELIVERY
from libs.events.retellings import KIND as RETELLING
from libs.events.retellings import Retelling
from libs.events.run_events import Append, ReplayOf, RunCompleted, RunRequested, decode_append
from libs.events.subjects import Kind, RunKey
from libs.events.timers import due_now
from libs.runtime.ids import derived_id
from services.gateway.answers import read_state
from services.gateway.state import Gateway


async def retry(call: Call[Gateway], letter: DeadLetter) -> str | None:
    """Carry it out again, and throw the letter away; answers the id of the new run, if it is one.

    Problem `conflict` where that cannot be.
    """
    broker = call.app.broker
    run_id: str | None = None
    match letter.consumer:
        case "executors":
            run_id = await _as_run(call, letter)
        case "notifier-due":
            await due_now(broker, DELIVERY, letter.subject.rpartition(".")[2], letter.payload)
        case "notifier-backfills":
            await due_now(broker, BACKFILL, letter.subject.rpartition(".")[2], letter.payload)
        case "notifier-ends" | "notifier-steps":
            wish = Retelling(stream=letter.stream, sequence=letter.stream_sequence, run_id=letter.run_id)
            await due_now(broker, RETELLING, f"{letter.stream}-{letter.sequence}", msgspec.json.encode(wish))
        case _:
            raise Problem("conflict", f"What `{letter.consumer}` could not take cannot be carried out again.")
    await throw_away(broker, letter.sequence)
    return run_id


async def _as_run(call: Call[Gateway], letter: DeadLetter) -> str:
    """A run that was requested, or that was to go on after it had waited."""
    if letter.workspace is None or letter.run_id is None:
        raise Problem("conflict", "This is about no run.")
    earlier = RunKey(letter.workspace, letter.run_id)
    first = await call.app.log.first(earlier)
    requested = decode_append(first.payload).events[0] if first is not None else None
    if not isinstance(requested, RunRequested):
        raise Problem("conflict", "There is no such run in the log.")
    deployment = call.app.directory.deployment(letter.workspace, requested.data.deployment_id)
    if deployment is None:
        raise Problem("conflict", "The run's deployment does not exist any more.")
    limits = call.app.directory.limits_of(deployment)
    run = RunKey(letter.workspace, derived_id("run", letter.workspace, requested.run_id, "retry", str(letter.sequence)))
    data = msgspec.structs.replace(requested.data, mode="async", replay=await _replay(call.app, earlier, requested))
    again = RunRequested(seq=1, run_id=run.run_id, at=datetime.now(UTC), data=data)
    asked = Append(by=call.caller.key_id, address=call.address, trace=call.trace, events=[again])
    # Where there are limits it waits for a slot like a batch's runs: it was charged when it was accepted. A conflict is
    # an earlier retry that was cut off before it threw the letter away.
    with suppress(Conflict):
        await call.app.log.append(run, Kind.HELD if limits else Kind.REQUESTED, asked, after=0)
    return run.run_id


async def _replay(app: Gateway, earlier: RunKey, requested: RunRequested) -> ReplayOf | None:
    """From the first node that had not finished; None where none is known to have. Problem where the run completed."""
    state, _ = await read_state(app, earlier)
    if isinstance(state.end, RunCompleted):
        raise Problem("conflict", "The run has completed.")
    try:
        flow = await app.versions.get(earlier.workspace, requested.data.flow_id, requested.data.version)
    except UnknownVersion:
        return requested.data.replay
    left = [i for i in flow.nodes if i not in state.nodes or state.nodes[i].status != "finished"]
    if len(left) == len(flow.nodes):
        return requested.data.replay
    return ReplayOf(run_id=earlier.run_id, from_node=left[0] if left else next(reversed(flow.nodes)))
