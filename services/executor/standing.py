"""How a run stands by its log, in the words of those who carry it on."""

from typing import Any

from libs.events.log import EventLog
from libs.events.run import RunState, fold
from libs.events.run_events import Append, decode_append
from libs.events.subjects import RunKey
from libs.flows import SKIPPED, CompiledFlow, Settled, failed, finished
from libs.runtime.failures import Terminal


async def read_run(log: EventLog, run: RunKey) -> tuple[Append, RunState, int]:
    """The append that asked for a run, the run's state, and the sequence of its last message. Terminal: none."""
    messages = await log.read(run)
    if not messages:
        raise Terminal("node_failed", "there is no such run")
    state = fold([message.payload for message in messages])
    return decode_append(messages[0].payload), state, messages[-1].sequence


def settled_of(flow: CompiledFlow, state: RunState) -> dict[str, Settled]:
    """What the log says of a run's nodes, in the scheduler's words."""
    found: dict[str, Settled] = {}
    for node_id, node_state in state.nodes.items():
        node = flow.nodes.get(node_id)
        if node is None:
            continue  # another version's, in a replay
        if node_state.status == "finished":
            found[node_id] = finished(node, node_state.output)
        elif node_state.status == "skipped":
            found[node_id] = SKIPPED
        elif node_state.status == "failed" and node_state.error is not None:
            found[node_id] = failed(node, node_state.error.code, node_state.error.message)
    return found


def facts_of(state: RunState) -> dict[str, Any]:
    """What `{{ run.… }}` reads."""
    requested = state.requested
    return {
        "id": state.run_id,
        "flow_id": requested.flow_id,
        "deployment_id": requested.deployment_id,
        "version": requested.version,
        "session_id": requested.session_id,
        "created_at": state.requested_at.isoformat().replace("+00:00", "Z"),
        "input": requested.input,
        "metadata": requested.metadata,
    }
