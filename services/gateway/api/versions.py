"""A flow's documents: the newest, the earlier ones, and one to take along."""

import asyncio
from datetime import datetime
from typing import Any, Literal

import msgspec
from aiohttp import web

from libs.edge.problems import Problem, not_found
from libs.edge.routes import Call, Reply, Route
from libs.events.managed import FlowHead, FlowVersion, read_version
from libs.flows import load
from libs.flows.export import export_python
from libs.runtime.failures import Terminal
from services.gateway.api.flow_documents import Document, FlowAnswer, answer
from services.gateway.api.flows import find_flow
from services.gateway.paging import PageQuery, cut, no_cursor
from services.gateway.state import Gateway


class VersionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A version without its document."""

    version: int
    name: str
    created_at: datetime


class VersionList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a flow's versions, newest first."""

    data: list[VersionSummary]
    next_cursor: str | None


class ExportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """In which form a flow leaves."""

    format: Literal["json", "python"] = "json"
    """`json`: the document, to be imported elsewhere. `python`: a file that runs by itself."""


async def get_flow(call: Call[Gateway]) -> Reply:
    """A flow with its newest document."""
    head = find_flow(call)
    return Reply(body=answer(head, await _version(call, head, head.version)))


async def list_versions(call: Call[Gateway]) -> Reply:
    """A flow's versions, newest first."""
    head = find_flow(call)
    query: PageQuery = call.query
    numbers = range(_newest(query, head), 0, -1)
    found = [_summary(await _version(call, head, number)) for number in numbers[: query.limit + 1]]
    return Reply(body=cut(found, query.limit, lambda v: (v.created_at, str(v.version)), lambda v: v))


async def get_version(call: Call[Gateway]) -> Reply:
    """One version's document."""
    head = find_flow(call)
    text = call.path("version")
    if not text.isdigit() or len(text) > 9:
        raise not_found("version")
    return Reply(body=answer(head, await _version(call, head, int(text))))


async def export_flow(call: Call[Gateway]) -> Reply | web.Response:
    """The newest version: its document, to be kept or imported elsewhere, or a Python file that runs by itself."""
    head = find_flow(call)
    document = (await _version(call, head, head.version)).document
    query: ExportQuery = call.query
    if query.format == "json":
        return Reply(body=document)
    try:
        text = await asyncio.to_thread(lambda: export_python(load(document)))
    except Terminal as failure:
        raise Problem("invalid_input", f"{failure.message[:1].upper()}{failure.message[1:]}.") from None
    headers = {"Content-Disposition": f'attachment; filename="{head.slug}.py"', "X-Content-Type-Options": "nosniff"}
    return web.Response(text=text, content_type="text/x-python", headers=headers)


def _newest(query: PageQuery, head: FlowHead) -> int:
    """The number that a page of versions begins with."""
    if query.after is None:
        return head.version
    number = query.after[1]
    if not number.isdigit():
        raise no_cursor()
    return min(int(number) - 1, head.version)


def _summary(version: FlowVersion) -> VersionSummary:
    return VersionSummary(version=version.version, name=version.document["name"], created_at=version.created_at)


async def _version(call: Call[Gateway], head: FlowHead, number: int) -> FlowVersion:
    """A version that the flow has. One that is stored but not yet the flow's is not there."""
    stored = None
    if 0 < number <= head.version:
        stored = await read_version(call.app.broker, head.workspace, head.id, number)
    if stored is None:
        raise not_found("version")
    return stored


def _route(path: str, handler: Any, summary: str, **more: Any) -> Route:
    return Route(method="GET", path=path, handler=handler, summary=summary, tag="flows", permission="read", **more)


_ONE = "/v1/flows/{flow_id}"

ROUTES = (
    _route(_ONE, get_flow, "A flow with its newest document", answer=FlowAnswer),
    _route(f"{_ONE}/versions", list_versions, "List versions", query=PageQuery, answer=VersionList),
    _route(f"{_ONE}/versions/{{version}}", get_version, "One version", answer=FlowAnswer),
    _route(
        f"{_ONE}/export",
        export_flow,
        "The document alone, or a Python file",
        query=ExportQuery,
        answer=Document,
        content_types=("application/json", "text/x-python"),
    ),
)
