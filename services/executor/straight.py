"""The straight path: a flow of pure nodes that nothing can stop, carried through in one go.

`Execution` can wait, branch, repeat, be cut off and go on where another one ended. A flow whose nodes are all pure and
choose no way needs none of this: its order is known when it is compiled, every node ends where it begins, and all
its events go out in one append. Taking its nodes in a row, with the events made and encoded once and the clock read
once a node, costs a third of what the same run costs there.

It must give what `Execution` gives, byte for byte but for the times; so whatever is not plain (a node that fails, an
output that is too large, a defect) is left to it from the beginning. Nothing was said of the run yet.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from libs.events.run import RunState, requested_audience, seconds_between
from libs.events.run_events import (
    Append,
    CompletedData,
    FinishedData,
    NodeFinished,
    NodeStarted,
    NodeStartedData,
    RunCompleted,
    RunEvent,
    RunStarted,
    StartedData,
    Usage,
    encode_append,
)
from libs.flows import AnyNode, CompiledFlow, Scope
from libs.flows.nodes.api_output import ApiOutput
from services.executor.metrics import NODE_SECONDS
from services.executor.standing import facts_of

_STARTED = NodeStartedData()
_UNUSED = Usage()
_NO_SESSION: dict[str, Any] = {"id": None, "turns": []}


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was carried through: the append that says so, and its last event."""

    payload: bytes
    end: RunCompleted


def carry(
    flow: CompiledFlow, state: RunState, executor: str, trace: str | None, clock: Callable[[], datetime]
) -> Carried | None:
    """The run from its start to its end, not yet stored; None: `Execution` has to see to it."""
    requested = state.requested
    if not flow.straight or requested.session_id is not None or requested.replay is not None:
        return None
    try:
        events, end = _events(flow, state, executor, clock)
        append = Append(by=executor, events=events, trace=trace, audience=requested_audience(requested))
        carried = Carried(payload=encode_append(append), end=end)
    except Exception:  # noqa: BLE001  # whatever it is, `Execution` meets it again and says what is to be said
        return None
    for node, event in zip(flow.straight, events[2::2], strict=True):
        if isinstance(event, NodeFinished):
            NODE_SECONDS[type(node)].observe(event.data.duration_seconds)
    return carried


def _events(
    flow: CompiledFlow, state: RunState, executor: str, clock: Callable[[], datetime]
) -> tuple[list[RunEvent], RunCompleted]:
    run_id, seq = state.run_id, state.seq + 1
    facts = facts_of(state)
    outputs: dict[str, Any] = {}
    began = at = clock()
    events: list[RunEvent] = [RunStarted(seq=seq, run_id=run_id, at=at, data=StartedData(executor=executor))]
    for node in flow.straight:
        node_id = node.id
        started = at
        events.append(NodeStarted(seq=seq + 1, run_id=run_id, at=started, node=node_id, data=_STARTED))
        outputs[node_id] = output = node.evaluate(_scope(outputs, facts, run_id, node, started))
        at = clock()
        seq += 2
        data = FinishedData(output=output, duration_seconds=seconds_between(started, at))
        events.append(NodeFinished(seq=seq, run_id=run_id, at=at, node=node_id, data=data))
    completed = CompletedData(
        output=_output(flow, outputs),
        usage=_UNUSED,
        started_at=began,
        duration_seconds=seconds_between(began, at),
    )
    end = RunCompleted(seq=seq + 1, run_id=run_id, at=at, data=completed)
    events.append(end)
    return events, end


def _scope(outputs: dict[str, Any], facts: dict[str, Any], run_id: str, node: AnyNode, now: datetime) -> Scope:
    return Scope(
        outputs=outputs,
        run=facts,
        session=_NO_SESSION,
        secrets={},
        idempotency_key=f"{run_id}:{node.id}",
        now=now,
    )


def _output(flow: CompiledFlow, outputs: dict[str, Any]) -> Any:
    """What `libs.flows.outcome` says where every node has finished."""
    outlets = [node_id for node_id, node in flow.nodes.items() if isinstance(node, ApiOutput)]
    if len(outlets) == 1:
        return outputs[outlets[0]]
    return {node_id: outputs[node_id] for node_id in outlets} or outputs[next(reversed(flow.nodes))]
