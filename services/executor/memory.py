"""What an executor remembers of a session: read before a run begins, one turn longer before it ends."""

from typing import Any

from libs.events.broker import Broker
from libs.events.run import RunState
from libs.events.sessions import Session, Turn, add_turn, read_session
from libs.events.subjects import RunKey
from libs.flows import CompiledFlow
from services.executor.journal import utc_now


class Memory:
    """The session of one run; a run without a session remembers nothing."""

    def __init__(self, broker: Broker, run: RunKey, flow: CompiledFlow, state: RunState) -> None:
        self._broker = broker
        self._run = run
        self._requested = state.requested
        self._ttl_seconds = flow.flow.settings.session_ttl_seconds
        self._reads = flow.uses_session

    async def recall(self) -> dict[str, Any]:
        """What `{{ session.… }}` reads: the id, and the turns so far where the flow looks at them."""
        session_id = self._requested.session_id
        if session_id is None or not self._reads:
            return {"id": session_id, "turns": []}
        session = await read_session(self._broker, self._run.workspace, session_id, self._requested.flow_id)
        turns = session.turns if session is not None and session.alive(utc_now()) else ()
        return {"id": session_id, "turns": [{"input": turn.input, "output": turn.output} for turn in turns]}

    async def remember(self, output: Any) -> None:
        """Add this run's turn, once. A replay reads its session and is no turn of it: its caller said nothing."""
        session_id = self._requested.session_id
        if session_id is None or self._requested.replay is not None:
            return
        now = utc_now()
        fresh = Session(
            id=session_id,
            flow_id=self._requested.flow_id,
            created_at=now,
            updated_at=now,
            ttl_seconds=self._ttl_seconds,
        )
        turn = Turn(run_id=self._run.run_id, input=self._requested.input, output=output, at=now)
        await add_turn(self._broker, self._run.workspace, fresh, turn)
