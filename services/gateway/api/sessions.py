"""Sessions: what was said in one, and forgetting it."""

import re
from datetime import UTC, datetime

import msgspec

from libs.edge.problems import Problem, not_found
from libs.edge.routes import Call, Reply, Route
from libs.events.auth_calls import allows
from libs.events.sessions import Session, Turn, clear_session, read_session
from services.gateway.state import Gateway

_SESSION = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


class SessionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A session, its turns oldest first."""

    id: str
    flow_id: str
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    turns: tuple[Turn, ...]


async def get_session(call: Call[Gateway]) -> Reply:
    """What was said. A session that is over or was cleared is not found."""
    session = await _find(call)
    answer = SessionAnswer(
        id=session.id,
        flow_id=session.flow_id,
        created_at=session.created_at,
        updated_at=session.updated_at,
        expires_at=session.expires_at,
        turns=session.turns,
    )
    return Reply(body=answer)


async def delete_session(call: Call[Gateway]) -> Reply:
    """Forget it; the next call with its id begins a new one. Who may speak in a session may forget it."""
    session = await _find(call)
    await clear_session(call.app.broker, call.caller.workspace, session.id, datetime.now(UTC))
    return Reply(status=204)


async def _find(call: Call[Gateway]) -> Session:
    if not (allows(call.caller.permissions, "read") or allows(call.caller.permissions, "execute")):
        raise Problem("forbidden", "This key has neither the right `read` nor the right `execute`.")
    session_id = call.request.match_info["session_id"]
    if not _SESSION.fullmatch(session_id):
        raise not_found("session")
    session = await read_session(call.app.broker, call.caller.workspace, session_id)
    if session is None or not session.alive(datetime.now(UTC)):
        raise not_found("session")
    bound = call.caller.deployment_ids
    of_flow = call.app.directory.deployments_of(call.caller.workspace, session.flow_id)
    if bound and not any(deployment.id in bound for deployment in of_flow):
        raise Problem("forbidden", "This key is for another deployment.")
    return session


ROUTES = (
    Route(
        method="GET",
        path="/v1/sessions/{session_id}",
        handler=get_session,
        summary="What was said in a session",
        tag="sessions",
        permission=None,
        answer=SessionAnswer,
    ),
    Route(
        method="DELETE",
        path="/v1/sessions/{session_id}",
        handler=delete_session,
        summary="Forget a session",
        tag="sessions",
        permission="execute",
        status=204,
    ),
)
