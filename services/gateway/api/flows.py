"""Flows and their versions. A version is never changed: saving again makes the next one."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from libs.edge.problems import Detail, Problem, not_found
from libs.edge.routes import Call, Reply, Route
from libs.events.log import Conflict
from libs.events.managed import (
    Change,
    FlowHead,
    FlowVersion,
    Permission,
    SlugClaim,
    read_version,
    recall,
    record,
    slug_subject,
    version_subject,
)
from libs.flows import Flow, InvalidFlow, load, slug_of
from libs.runtime.ids import new_id
from services.gateway.paging import PageQuery, page
from services.gateway.state import Gateway

Document = Annotated[dict[str, Any], msgspec.Meta(description="A flow document: name, slug, settings, nodes, edges.")]


class FlowAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A flow with the document of one of its versions."""

    id: str
    slug: str
    version: int
    name: str
    description: str
    settings: dict[str, Any]
    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    created_at: datetime
    updated_at: datetime


class FlowSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A flow without its document."""

    id: str
    slug: str
    version: int
    name: str
    description: str
    created_at: datetime
    updated_at: datetime


class FlowList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of flows."""

    data: list[FlowSummary]
    next_cursor: str | None


class VersionList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a flow's versions, newest first."""

    data: list[dict[str, Any]]
    next_cursor: str | None


class ExportQuery(msgspec.Struct, frozen=True, kw_only=True):
    """In which form a flow leaves."""

    format: str = "json"


async def create_flow(call: Call[Gateway]) -> Reply:
    """Save a new flow. 400 names every fault; 409 when another flow has its slug."""
    flow = read_document(call.body)
    slug = flow.slug or slug_of(flow.name)
    flow_id, now = new_id("flow"), datetime.now(UTC)
    await _claim(call, slug, flow_id, given=flow.slug is not None)
    head = FlowHead(
        id=flow_id,
        workspace=call.caller.workspace,
        slug=slug,
        name=flow.name,
        description=flow.description,
        version=1,
        created_at=now,
        updated_at=now,
    )
    document = {**call.body, "slug": slug}
    await _store_version(call, head, document)
    await call.app.directory.write("flow.created", head, call.caller.key_id, call.address, after=0)
    return Reply(status=201, body=_answer(head, 1, document), headers={"Location": f"/v1/flows/{flow_id}"})


async def save_flow(call: Call[Gateway]) -> Reply:
    """Save the next version. Deployments stay where they are."""
    flow = read_document(call.body)
    directory = call.app.directory
    for _ in range(20):
        head, sequence = await directory.latest(find_flow(call))
        if head.deleted:
            raise not_found("flow")
        slug = flow.slug or head.slug
        if slug != head.slug:
            await _claim(call, slug, head.id, given=True)
        newer = msgspec.structs.replace(
            head,
            slug=slug,
            name=flow.name,
            description=flow.description,
            version=await _free_version(call, head),
            updated_at=datetime.now(UTC),
        )
        document = {**call.body, "slug": slug}
        try:
            await _store_version(call, newer, document)
            await directory.write("flow.saved", newer, call.caller.key_id, call.address, after=sequence)
        except Conflict:
            continue
        if slug != head.slug:
            await _release(call, head.slug)
        return Reply(body=_answer(newer, newer.version, document))
    raise Problem("unavailable", "Others save this flow at the same time; try again.")


async def list_flows(call: Call[Gateway]) -> Reply:
    """The workspace's flows, newest first."""
    flows = call.app.directory.flows(call.caller.workspace)
    return Reply(body=page(flows, call.query, lambda flow: (flow.created_at, flow.id), summary_of))


async def get_flow(call: Call[Gateway]) -> Reply:
    """A flow with its newest document."""
    head = find_flow(call)
    return Reply(body=_answer(head, head.version, await _document(call, head, head.version)))


async def list_versions(call: Call[Gateway]) -> Reply:
    """A flow's versions, newest first."""
    head = find_flow(call)
    query: PageQuery = call.query
    after = int(query.after[1]) if query.after and query.after[1].isdigit() else head.version + 1
    numbers = range(min(after, head.version + 1) - 1, 0, -1)
    stored = [(n, await _version(call, head, n)) for n in numbers[: query.limit + 1]]
    found = [(n, version) for n, version in stored if version is not None]

    def show(item: tuple[int, FlowVersion]) -> dict[str, Any]:
        return {"version": item[0], "created_at": item[1].created_at, "name": item[1].document.get("name")}

    cut = page(found, msgspec.structs.replace(query, cursor=None), lambda i: (i[1].created_at, str(i[0])), show)
    return Reply(body=cut)


async def get_version(call: Call[Gateway]) -> Reply:
    """One version's document."""
    head = find_flow(call)
    text = call.path("version")
    if not text.isdigit() or len(text) > 9:
        raise not_found("version")
    version = int(text)
    return Reply(body=_answer(head, version, await _document(call, head, version)))


async def delete_flow(call: Call[Gateway]) -> Reply:
    """Delete a flow and its deployments; their addresses answer 404 from now on. Runs stay in the log."""
    directory = call.app.directory
    head, sequence = await directory.latest(find_flow(call))
    now = datetime.now(UTC)
    for deployment in directory.deployments_of(call.caller.workspace, head.id):
        state, at = await directory.latest(deployment)
        gone = msgspec.structs.replace(state, deleted=True, status="inactive", updated_at=now)
        await directory.write("deployment.deleted", gone, call.caller.key_id, call.address, after=at)
    gone_flow = msgspec.structs.replace(head, deleted=True, updated_at=now)
    await directory.write("flow.deleted", gone_flow, call.caller.key_id, call.address, after=sequence)
    await _release(call, head.slug)
    return Reply(status=204)


async def export_flow(call: Call[Gateway]) -> Reply:
    """The document, to be kept or imported elsewhere."""
    if call.query.format != "json":
        detail = "must be json"
        raise Problem("invalid_input", f"format {detail}.", [Detail(pointer="/format", detail=detail)])
    head = find_flow(call)
    return Reply(body=await _document(call, head, head.version))


async def import_flow(call: Call[Gateway]) -> Reply:
    """Save an exported document as a new flow; a slug that is taken gets a suffix."""
    flow = read_document(call.body)
    slug = wanted = flow.slug or slug_of(flow.name)
    number = 1
    while call.app.directory.flow(call.caller.workspace, slug) is not None:
        number += 1
        slug = f"{wanted[:55]}-{number}"
    return await create_flow(msgspec.structs.replace(call, body={**call.body, "slug": slug}))


def find_flow(call: Call[Gateway]) -> FlowHead:
    """The flow that the path names, by id or slug."""
    flow = call.app.directory.flow(call.caller.workspace, call.path("flow_id"))
    if flow is None:
        raise not_found("flow")
    return flow


def read_document(document: Any) -> Flow:
    """The document, valid. Problem `invalid_input` with every fault and its JSON Pointer."""
    try:
        return load(document)
    except InvalidFlow as error:
        faults = [Detail(pointer=fault.pointer, detail=fault.detail) for fault in error.faults]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        place = faults[0].pointer or "The document"
        raise Problem("invalid_input", f"{place}: {faults[0].detail}{more}.", faults) from None


def summary_of(head: FlowHead) -> FlowSummary:
    """The flow as lists show it."""
    return FlowSummary(
        id=head.id,
        slug=head.slug,
        version=head.version,
        name=head.name,
        description=head.description,
        created_at=head.created_at,
        updated_at=head.updated_at,
    )


def _answer(head: FlowHead, version: int, document: dict[str, Any]) -> FlowAnswer:
    return FlowAnswer(
        id=head.id,
        slug=head.slug,
        version=version,
        name=document.get("name", head.name),
        description=document.get("description", ""),
        settings=document.get("settings", {}),
        nodes=document.get("nodes", []),
        edges=document.get("edges", []),
        created_at=head.created_at,
        updated_at=head.updated_at,
    )


async def _claim(call: Call[Gateway], slug: str, flow_id: str, *, given: bool) -> None:
    """Make the slug this flow's. Problem `conflict` when it is another's: two gateways ask the log, which decides."""
    subject = slug_subject(call.caller.workspace, slug)
    last = await recall(call.app.broker, subject)
    owner = last.change.state.flow_id if last and isinstance(last.change.state, SlugClaim) else None
    try:
        if owner in (None, flow_id):
            await _write_claim(call, subject, flow_id, last.sequence if last else 0)
            return
    except Conflict:
        pass
    what = "slug" if given else "name, and so the slug made from it,"
    detail = f"the {what} `{slug}` is another flow's; choose another slug or save a new version of that flow"
    raise Problem("conflict", f"/slug: {detail}.", [Detail(pointer="/slug", detail=detail)])


async def _release(call: Call[Gateway], slug: str) -> None:
    subject = slug_subject(call.caller.workspace, slug)
    last = await recall(call.app.broker, subject)
    if last is not None:
        await _write_claim(call, subject, None, last.sequence)


async def _write_claim(call: Call[Gateway], subject: str, flow_id: str | None, after: int) -> None:
    kind = "slug.claimed" if flow_id else "slug.released"
    change = _change(call, kind, SlugClaim(flow_id=flow_id))
    await record(call.app.broker, subject, change, after=after)


async def _free_version(call: Call[Gateway], head: FlowHead) -> int:
    """The next number that no version has: one may have been stored by a save that was cut off before its end."""
    number = head.version + 1
    while await _version(call, head, number) is not None:
        number += 1
    return number


async def _store_version(call: Call[Gateway], head: FlowHead, document: dict[str, Any]) -> None:
    state = FlowVersion(flow_id=head.id, version=head.version, created_at=head.updated_at, document=document)
    subject = version_subject(head.workspace, head.id, head.version)
    await record(call.app.broker, subject, _change(call, "flow.version_stored", state), after=0)


def _change(call: Call[Gateway], kind: str, state: SlugClaim | FlowVersion) -> Change:
    return Change(type=kind, at=datetime.now(UTC), by=call.caller.key_id, address=call.address, state=state)


async def _version(call: Call[Gateway], head: FlowHead, version: int) -> FlowVersion | None:
    return await read_version(call.app.broker, head.workspace, head.id, version)


async def _document(call: Call[Gateway], head: FlowHead, version: int) -> dict[str, Any]:
    stored = await _version(call, head, version) if 0 < version <= head.version else None
    if stored is None:
        raise not_found("version")
    return stored.document


def _route(method: str, path: str, handler: Any, summary: str, **more: Any) -> Route:
    permission: Permission = "read" if method == "GET" else "write"
    return Route(method=method, path=path, handler=handler, summary=summary, tag="flows", permission=permission, **more)


ROUTES = (
    _route("POST", "/v1/flows", create_flow, "Save a new flow", body=Document, answer=FlowAnswer, status=201),
    _route("GET", "/v1/flows", list_flows, "List flows", query=PageQuery, answer=FlowList),
    _route(
        "POST", "/v1/flows/import", import_flow, "Save an exported flow", body=Document, answer=FlowAnswer, status=201
    ),
    _route("GET", "/v1/flows/{flow_id}", get_flow, "A flow with its newest document", answer=FlowAnswer),
    _route("PUT", "/v1/flows/{flow_id}", save_flow, "Save the next version", body=Document, answer=FlowAnswer),
    _route("DELETE", "/v1/flows/{flow_id}", delete_flow, "Delete a flow and its deployments", status=204),
    _route("GET", "/v1/flows/{flow_id}/versions", list_versions, "List versions", query=PageQuery, answer=VersionList),
    _route("GET", "/v1/flows/{flow_id}/versions/{version}", get_version, "One version", answer=FlowAnswer),
    _route("GET", "/v1/flows/{flow_id}/export", export_flow, "The document alone", query=ExportQuery, answer=Document),
)
