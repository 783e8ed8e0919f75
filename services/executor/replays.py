"""What a replayed run takes over from the run it replays: nodes that do not come after the one it begins at."""

from libs.events.log import EventLog
from libs.events.run import RunState, fold
from libs.events.subjects import RunKey
from libs.flows import CompiledFlow, Settled
from services.executor.standing import settled_of


async def taken_over(log: EventLog, run: RunKey, flow: CompiledFlow, state: RunState) -> dict[str, Settled]:
    """The nodes of the earlier run that stand, by id; nothing where the run is no replay."""
    replay = state.requested.replay
    if replay is None:
        return {}
    messages = await log.read(RunKey(run.workspace, replay.run_id))
    earlier = settled_of(flow, fold([message.payload for message in messages]))
    again = {replay.from_node, *flow.downstream(replay.from_node)}
    return {node_id: ended for node_id, ended in earlier.items() if node_id not in again and ended.status == "finished"}
