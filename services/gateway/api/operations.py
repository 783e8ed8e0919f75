"""Operations: how the installation does, and what could not be carried out. For the root workspace's admin alone.

An operator is told of every workspace's dead letters that they are there, and why; what is in one is shown to its own
workspace's admin only.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import structlog

from libs.edge.bodies import invalid
from libs.edge.problems import Detail, Problem, not_found
from libs.edge.routes import Call, Reply, Route
from libs.events.dead_letters import DeadLetter, read_letter, read_letters, throw_away
from libs.events.roll import call_roll
from services.gateway.health.reading import read_health
from services.gateway.health.retrying import retry
from services.gateway.health.status import OperationsStatus, status_of
from services.gateway.state import Gateway

_DIGITS = 15

log = structlog.get_logger()


class DeadLetterView(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be handled. `payload` only where it is the caller's own workspace's, in one letter."""

    id: str
    at: datetime
    consumer: str
    reason: str
    attempts: int
    subject: str
    workspace: str | None
    run_id: str | None
    payload: Any = None


class DeadLetterList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of dead letters, oldest first."""

    data: list[DeadLetterView]
    next_cursor: str | None


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """It is carried out again; `run_id` is the new run, where it was one."""

    id: str
    run_id: str | None


class LetterQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of the list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=100, description="Items a page.")] = 20
    cursor: Annotated[str | None, msgspec.Meta(description="`next_cursor` of the page before.")] = None


async def operations_status(call: Call[Gateway]) -> Reply:
    """Who is there, what waits, how full it is, what is wrong and what to do."""
    _require_operator(call)
    app = call.app
    present = await call_roll(app.broker)
    health = await read_health(app.broker, app.tables, app.settings.data)
    return Reply(body=status_of(present, health, datetime.now(UTC)))


async def list_dead_letters(call: Call[Gateway]) -> Reply:
    """What could not be carried out, in every workspace, without what is in it."""
    _require_operator(call)
    query: LetterQuery = call.query
    after = 0 if query.cursor is None else _sequence(query.cursor)
    if after is None:
        raise invalid(Detail(pointer="/cursor", detail="is not a cursor of this list"))
    found = await read_letters(call.app.broker, after, query.limit + 1)
    shown = found[: query.limit]
    following = str(shown[-1].sequence) if len(found) > len(shown) else None
    return Reply(body=DeadLetterList(data=[_view(each) for each in shown], next_cursor=following))


async def get_dead_letter(call: Call[Gateway]) -> Reply:
    """One letter, with what is in it where it is the caller's own workspace's."""
    letter = await _letter(call)
    own = letter.workspace == call.caller.workspace
    return Reply(body=msgspec.structs.replace(_view(letter), payload=_payload(letter) if own else None))


async def retry_dead_letter(call: Call[Gateway]) -> Reply:
    """Carry it out again: a run as a new run that does not repeat what had finished. It is off the list then."""
    letter = await _letter(call)
    run_id = await retry(call, letter)
    log.info("dead letter retried", letter=letter.sequence, key_id=call.caller.key_id, run_id=run_id)
    return Reply(status=202, body=Retried(id=str(letter.sequence), run_id=run_id))


async def discard_dead_letter(call: Call[Gateway]) -> Reply:
    """Throw it away: nobody wants it carried out any more."""
    letter = await _letter(call)
    await throw_away(call.app.broker, letter.sequence)
    log.info("dead letter discarded", letter=letter.sequence, key_id=call.caller.key_id, subject=letter.subject)
    return Reply(status=204)


def _require_operator(call: Call[Gateway]) -> None:
    if not call.caller.root:
        raise Problem("forbidden", "Only the root workspace's admin runs this installation.")


async def _letter(call: Call[Gateway]) -> DeadLetter:
    _require_operator(call)
    sequence = _sequence(call.path("letter_id"))
    found = await read_letter(call.app.broker, sequence) if sequence else None
    if found is None:
        raise not_found("dead letter")
    return found


def _sequence(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else None


def _view(letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        id=str(letter.sequence),
        at=letter.at,
        consumer=letter.consumer,
        reason=letter.reason,
        attempts=letter.attempts,
        subject=letter.subject,
        workspace=letter.workspace,
        run_id=letter.run_id,
    )


def _payload(letter: DeadLetter) -> Any:
    try:
        return msgspec.json.decode(letter.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return letter.payload.decode("utf-8", "replace")


ROUTES = (
    Route(
        method="GET",
        path="/v1/operations/status",
        handler=operations_status,
        summary="How the installation does: what is wrong, and what to do",
        tag="operations",
        permission="admin",
        unbound=True,
        answer=OperationsStatus,
    ),
    Route(
        method="GET",
        path="/v1/operations/dead-letters",
        handler=list_dead_letters,
        summary="What could not be carried out",
        tag="operations",
        permission="admin",
        unbound=True,
        query=LetterQuery,
        answer=DeadLetterList,
    ),
    Route(
        method="GET",
        path="/v1/operations/dead-letters/{letter_id}",
        handler=get_dead_letter,
        summary="One dead letter",
        tag="operations",
        permission="admin",
        unbound=True,
        answer=DeadLetterView,
    ),
    Route(
        method="POST",
        path="/v1/operations/dead-letters/{letter_id}/retry",
        handler=retry_dead_letter,
        summary="Carry it out again",
        tag="operations",
        permission="admin",
        unbound=True,
        answer=Retried,
        status=202,
    ),
    Route(
        method="DELETE",
        path="/v1/operations/dead-letters/{letter_id}",
        handler=discard_dead_letter,
        summary="Throw a dead letter away",
        tag="operations",
        permission="admin",
        unbound=True,
        status=204,
    ),
)
