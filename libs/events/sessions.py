"""Sessions: what was said to a flow and what it answered, in order, until nobody has spoken for a while.

A session lies on a subject of its own, whole in its last message, and a turn is added by compare-and-set: two runs that
end at the same moment both keep their turn. A turn is stored before its run's end, so whoever has seen the answer finds
it in the next call; a run that is carried through twice after a crash adds its turn once.
"""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from libs.events.appends import Conflict, append_message
from libs.events.broker import Broker
from libs.events.reads import last_message, read_range
from libs.events.subjects import ANY, SESSIONS, session_subject

MAX_TURNS = 100
MAX_BYTES = 512 * 1024
"""The oldest turns beyond either bound are forgotten."""

_PATIENCE_SECONDS = 10.0
_TRIES = 100


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the session that completed."""

    run_id: str
    input: Any
    output: Any
    at: datetime


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A session of one flow. It ends `ttl_seconds` after it was last spoken in."""

    id: str
    flow_id: str
    created_at: datetime
    updated_at: datetime
    ttl_seconds: float
    turns: tuple[Turn, ...] = ()
    cleared: bool = False

    @property
    def expires_at(self) -> datetime:
        """When it is forgotten if nobody speaks."""
        return self.updated_at + timedelta(seconds=self.ttl_seconds)

    def alive(self, now: datetime) -> bool:
        """Whether it is still remembered."""
        return not self.cleared and now < self.expires_at


def with_turn(session: Session | None, fresh: Session, turn: Turn) -> Session:
    """The session with one more turn: `session` goes on if it is alive, else `fresh` begins."""
    going = session if session is not None and session.alive(turn.at) else fresh
    if any(known.run_id == turn.run_id for known in going.turns):
        return going
    kept = [*going.turns, turn][-MAX_TURNS:]
    while len(kept) > 1 and len(msgspec.json.encode(kept)) > MAX_BYTES:
        kept.pop(0)
    return msgspec.structs.replace(going, turns=tuple(kept), updated_at=turn.at, ttl_seconds=fresh.ttl_seconds)


async def read_session(broker: Broker, workspace: str, session_id: str, flow_id: str = ANY) -> Session | None:
    """The session in a flow, or where it was spoken in last; also one that is over: ask `alive`."""
    message = await last_message(broker, SESSIONS, session_subject(workspace, session_id, flow_id))
    return None if message is None else msgspec.json.decode(message.payload, type=Session)


async def add_turn(broker: Broker, workspace: str, fresh: Session, turn: Turn) -> None:
    """Store a turn. Unavailable when that cannot be done."""
    subject = session_subject(workspace, fresh.id, fresh.flow_id)
    for _ in range(_TRIES):
        message = await last_message(broker, SESSIONS, subject)
        session = None if message is None else msgspec.json.decode(message.payload, type=Session)
        after = 0 if message is None else message.sequence
        try:
            await _store(broker, subject, with_turn(session, fresh, turn), after)
        except Conflict:
            continue
        return


async def clear_session(broker: Broker, workspace: str, session_id: str, now: datetime) -> None:
    """Forget a session in every flow."""
    messages = await read_range(broker, SESSIONS, session_subject(workspace, session_id, ANY), 1)
    for subject in {message.subject for message in messages}:
        await _clear(broker, subject, now)


async def _clear(broker: Broker, subject: str, now: datetime) -> None:
    for _ in range(_TRIES):
        message = await last_message(broker, SESSIONS, subject)
        if message is None:
            return
        session = msgspec.json.decode(message.payload, type=Session)
        over = msgspec.structs.replace(session, turns=(), cleared=True, updated_at=now)
        try:
            await _store(broker, subject, over, message.sequence)
        except Conflict:
            continue
        return


async def _store(broker: Broker, subject: str, session: Session, after: int) -> None:
    payload = msgspec.json.encode(session)
    await append_message(broker, SESSIONS, subject, payload, after=after, patience_seconds=_PATIENCE_SECONDS)
