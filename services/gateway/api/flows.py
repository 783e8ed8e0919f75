"""Flows: saved, listed, deleted, imported. A version is never changed: saving again makes the next one.

Where two save at the same time, the version's own subject decides who has the next number, and whoever comes upon a
version that its flow does not show yet brings the flow up to it. So numbers have no gap and no version is lost, also
when the process that stored it died before it could say so.
"""

from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from libs.edge.key_management import withdraw_deployment_key
from libs.edge.problems import Problem, not_found
from libs.edge.routes import Call, Reply, Route
from libs.events.appends import Conflict
from libs.events.managed import Change, FlowHead, FlowVersion, Permission, recall, record, version_subject
from libs.flows import Flow
from libs.runtime.ids import new_id
from services.gateway.api.flow_documents import Document, FlowAnswer, FlowList, answer, read_document, summary
from services.gateway.api.slugs import claim, release, taken
from services.gateway.paging import PageQuery, page
from services.gateway.state import Gateway

_TRIES = 100
"""Each one that fails means that another save went through."""
_SUFFIXES = 10_000


async def create_flow(call: Call[Gateway]) -> Reply:
    """Save a new flow. 400 names every fault; 409 when another flow has its slug."""
    flow, flow_id = read_document(call.body), new_id("flow")
    if not await claim(call, flow.slug, flow_id):
        raise taken(flow.slug, given="slug" in call.body)
    return await _create(call, flow, flow_id)


async def import_flow(call: Call[Gateway]) -> Reply:
    """Save an exported document as a new flow; a slug that is taken gets a suffix."""
    flow, flow_id = read_document(call.body), new_id("flow")
    slugs = [flow.slug, *(f"{flow.slug[:55]}-{number}" for number in range(2, _SUFFIXES))]
    for slug in slugs:
        if call.app.directory.flow(call.caller.workspace, slug) is None and await claim(call, slug, flow_id):
            return await _create(call, replace(flow, slug=slug), flow_id)
    raise taken(flow.slug, given="slug" in call.body)


async def _create(call: Call[Gateway], flow: Flow, flow_id: str) -> Reply:
    now = datetime.now(UTC)
    head = FlowHead(
        id=flow_id,
        workspace=call.caller.workspace,
        slug=flow.slug,
        name=flow.name,
        description=flow.description,
        version=1,
        created_at=now,
        updated_at=now,
    )
    stored = await _store_version(call, head, {**call.body, "slug": flow.slug})
    await call.app.directory.write("flow.created", head, call.caller.key_id, call.address, after=0)
    return Reply(status=201, body=answer(head, stored), headers={"Location": f"/v1/flows/{flow_id}"})


async def save_flow(call: Call[Gateway]) -> Reply:
    """Save the next version. Deployments stay where they are, and so does the slug where the document has none."""
    read_document(call.body)
    known = find_flow(call)
    for _ in range(_TRIES):
        head, sequence = await call.app.directory.latest(known)
        if head.deleted:
            raise not_found("flow")
        slug = call.body.get("slug", head.slug)
        if slug != head.slug and not await claim(call, slug, head.id):
            raise taken(slug, given=True)
        following = replace(head, version=head.version + 1, updated_at=datetime.now(UTC))
        try:
            stored = await _store_version(call, following, {**call.body, "slug": slug})
        except Conflict:
            await _advance(call, head, sequence)
            continue
        await _advance(call, head, sequence)
        return Reply(body=answer(head, stored))
    raise Problem("unavailable", "Others save this flow at the same time; try again.")


async def _advance(call: Call[Gateway], head: FlowHead, sequence: int) -> None:
    """Bring the flow to the version that follows, whoever stored it; nothing to do where somebody else has done it."""
    directory = call.app.directory
    last = await recall(call.app.broker, version_subject(head.workspace, head.id, head.version + 1))
    if last is None or not isinstance(last.change.state, FlowVersion):
        return
    stored, document = last.change, last.change.state.document
    newer = replace(
        head,
        slug=document["slug"],
        name=document["name"],
        description=document.get("description", ""),
        version=head.version + 1,
        updated_at=stored.at,
    )
    try:
        await directory.write("flow.saved", newer, stored.by, stored.address or "", after=sequence)
    except Conflict:
        await directory.latest(head)
        return
    if newer.slug != head.slug:
        await release(call, head.slug, head.id)


async def list_flows(call: Call[Gateway]) -> Reply:
    """The workspace's flows, newest first. A key that is bound to deployments sees the flows of those."""
    flows = [flow for flow in call.app.directory.flows(call.caller.workspace) if _reaches(call, flow)]
    return Reply(body=page(flows, call.query, lambda flow: (flow.created_at, flow.id), summary))


async def delete_flow(call: Call[Gateway]) -> Reply:
    """Delete a flow and its deployments; their addresses answer 404 from now on. Runs stay in the log."""
    directory, by = call.app.directory, call.caller.key_id
    head = find_flow(call)
    for deployment in directory.deployments_of(head.workspace, head.id):
        await withdraw_deployment_key(call.app.broker, call.actor, deployment.id)
        await directory.delete("deployment.deleted", deployment, by, call.address)
    deleted = await directory.delete("flow.deleted", head, by, call.address)
    if deleted is None:
        raise not_found("flow")
    await release(call, deleted.slug, deleted.id)
    return Reply(status=204)


def find_flow(call: Call[Gateway]) -> FlowHead:
    """The flow that the path names, by id or slug. Problem `forbidden` where the key is for other deployments."""
    flow = call.app.directory.flow(call.caller.workspace, call.path("flow_id"))
    if flow is None:
        raise not_found("flow")
    if not _reaches(call, flow):
        raise Problem("forbidden", "This key is bound to deployments of other flows.")
    return flow


def _reaches(call: Call[Gateway], flow: FlowHead) -> bool:
    bound = call.caller.deployment_ids
    return not bound or any(d.id in bound for d in call.app.directory.deployments_of(flow.workspace, flow.id))


async def _store_version(call: Call[Gateway], head: FlowHead, document: dict[str, Any]) -> FlowVersion:
    """Store the document as the version that `head` says. Conflict when there is one of that number."""
    state = FlowVersion(flow_id=head.id, version=head.version, created_at=head.updated_at, document=document)
    change = Change(
        type="flow.version_stored", at=head.updated_at, by=call.caller.key_id, address=call.address, state=state
    )
    subject = version_subject(head.workspace, head.id, head.version)
    await record(call.app.broker, subject, change, after=0)
    return state


def _route(method: str, path: str, handler: Any, summary: str, **more: Any) -> Route:
    permission: Permission = "read" if method == "GET" else "write"
    return Route(
        method=method,
        path=path,
        handler=handler,
        summary=summary,
        tag="flows",
        permission=permission,
        unbound=method != "GET",
        **more,
    )


_SAVED: dict[str, Any] = {"body": Document, "answer": FlowAnswer}

ROUTES = (
    _route("POST", "/v1/flows", create_flow, "Save a new flow", status=201, **_SAVED),
    _route("GET", "/v1/flows", list_flows, "List flows", query=PageQuery, answer=FlowList),
    _route("POST", "/v1/flows/import", import_flow, "Save an exported flow", status=201, **_SAVED),
    _route("PUT", "/v1/flows/{flow_id}", save_flow, "Save the next version", **_SAVED),
    _route("DELETE", "/v1/flows/{flow_id}", delete_flow, "Delete a flow and its deployments", status=204),
)
