"""The audit: who did what, when, from which address, read from the log itself."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Literal, TypeAlias

import msgspec
import structlog
from aiohttp import web

from libs.edge.bodies import invalid
from libs.edge.problems import Detail
from libs.edge.routes import Call, Reply, Route
from libs.edge.streams import EventStream
from libs.events.broker import Unavailable
from libs.runtime.ids import is_token
from services.gateway.audit.entries import Entry, Wanted
from services.gateway.audit.positions import NotAPosition, Position, Seal
from services.gateway.audit.reading import Reading, count_sources, read_entries, sources_of
from services.gateway.state import Gateway

_NDJSON = "application/x-ndjson"
_CHUNK_BYTES = 32 * 1024

log = structlog.get_logger()

Entries: TypeAlias = AsyncGenerator[Entry, None]

_Text = Annotated[str, msgspec.Meta(max_length=64)]
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which entries, in which form."""

    since: Annotated[_Time | None, msgspec.Meta(description="What happened at this time or later.")] = None
    until: Annotated[_Time | None, msgspec.Meta(description="What happened before this time.")] = None
    type: Annotated[
        _Text | None, msgspec.Meta(description="A type such as `key.rotated`, or all of a noun: `key`.")
    ] = None
    run_id: Annotated[_Text | None, msgspec.Meta(description="Only what happened to this run.")] = None
    key_id: Annotated[_Text | None, msgspec.Meta(description="Only what was done with this key.")] = None
    after: Annotated[
        str | None, msgspec.Meta(description="Go on after the entry with this `position`, with the same filters.")
    ] = None
    cursor: Annotated[str | None, msgspec.Meta(description="The same, as every list has it.")] = None
    format: Annotated[
        Literal["json", "ndjson"], msgspec.Meta(description="A page, or everything: one entry a line, as it is read.")
    ] = "json"
    limit: Annotated[int, msgspec.Meta(ge=1, le=100, description="Entries a page; `ndjson` has no pages.")] = 20


class EntryList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of entries, oldest first."""

    data: list[Entry]
    next_cursor: str | None


async def list_audit_events(call: Call[Gateway]) -> Reply | web.StreamResponse:
    """What happened in the workspace, oldest first, in the order in which the log took it.

    What happened to runs, and every change of flows, deployments, keys, limits and all else that is managed, as it
    is stored, without the secrets. Entries of one message of the log are told together. Every entry has a
    `position`, after which any gateway goes on; a position is good for as long as the log.
    """
    query: AuditQuery = call.query
    entries = _entries(call, query)
    if query.format == "ndjson":
        return await _stream(call, entries)
    page: list[Entry] = []
    async with aclosing(entries):
        async for entry in entries:
            page.append(entry)
            if len(page) > query.limit:
                break
    shown = page[: query.limit]
    return Reply(body=EntryList(data=shown, next_cursor=shown[-1].position if len(page) > len(shown) else None))


def _entries(call: Call[Gateway], query: AuditQuery) -> Entries:
    app, workspace = call.app, call.caller.workspace
    seal = Seal(app.settings.master_secret, workspace, count_sources(app.log))
    if query.run_id is not None and not is_token(query.run_id):
        raise invalid(Detail(pointer="/run_id", detail="is not the id of a run"))

    def left() -> bool:
        return call.request.transport is None or call.request.transport.is_closing()

    reading = Reading(
        sources=sources_of(app.log, workspace, query.run_id, query.type),
        wanted=Wanted(since=query.since, until=query.until, type=query.type, by=query.key_id, run_id=query.run_id),
        position=_position(query, seal),
        seal=seal,
        left=left,
    )
    return read_entries(app.broker, reading)


def _position(query: AuditQuery, seal: Seal) -> Position:
    name = "cursor" if query.after is None else "after"
    if query.after is not None and query.cursor is not None:
        raise invalid(Detail(pointer="/cursor", detail="means the same as `after`; give one of them"))
    try:
        return seal.open(query.after if query.after is not None else query.cursor)
    except NotAPosition:
        raise invalid(Detail(pointer=f"/{name}", detail="is not a position of this audit")) from None


async def _stream(call: Call[Gateway], entries: Entries) -> web.StreamResponse:
    """Everything, a line an entry. A first read that fails is still an answer; a later one breaks the connection."""
    async with aclosing(entries):
        first = await anext(entries, None)
        stream = EventStream(call.request, call.app.streams, {"Content-Type": _NDJSON}, retry=False)
        return await stream.write_all(_chunks(call.request, first, entries))


async def _chunks(request: web.Request, first: Entry | None, entries: Entries) -> AsyncIterator[bytes]:
    """The lines, some at a time: a write for each would cost more than the line."""
    if first is None:
        return
    encoder = msgspec.json.Encoder()
    chunk = bytearray()
    encoder.encode_into(first, chunk)
    chunk += b"\n"
    try:
        async for entry in entries:
            encoder.encode_into(entry, chunk, -1)
            chunk += b"\n"
            if len(chunk) >= _CHUNK_BYTES:
                yield bytes(chunk)
                chunk.clear()
    except Unavailable as error:
        # The end would look like the end of the log: whoever reads has to see that it is not.
        log.warning("the audit was cut off", reason=str(error))
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the log cannot be read") from error
    if chunk:
        yield bytes(chunk)


ROUTES = (
    Route(
        method="GET",
        path="/v1/audit/events",
        handler=list_audit_events,
        summary="What happened, who did it, when and from where",
        tag="audit",
        permission="admin",
        unbound=True,
        query=AuditQuery,
        answer=EntryList,
        content_types=("application/json", _NDJSON),
    ),
)
