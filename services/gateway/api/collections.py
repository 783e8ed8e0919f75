"""Collections: the documents that `retriever` nodes search."""

from typing import Annotated, Any

import msgspec

from libs.edge.bodies import invalid
from libs.edge.problems import Detail, Problem, not_found
from libs.edge.routes import Call, Reply, Route
from libs.events.managed import Permission
from libs.runtime.failures import Failure
from libs.storage import Away
from libs.storage.collections import Collection, Document, NewDocument, UnknownCollection
from services.gateway.paging import PageQuery, cut
from services.gateway.state import Gateway

_MAX_TEXT_BYTES = 100_000

Name = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]


class CollectionBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a collection is made with."""

    name: Name


class DocumentBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A passage to be found: at most 100 kB of text, and as much of whatever else is to be known of it."""

    text: Annotated[str, msgspec.Meta(min_length=1, max_length=_MAX_TEXT_BYTES)]
    metadata: dict[str, Any] = {}


class DocumentsBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Documents that are added together: all of them or none."""

    documents: Annotated[list[DocumentBody], msgspec.Meta(min_length=1, max_length=1_000)]


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """What was added, in the order it was sent."""

    count: int
    ids: list[str]


class CollectionList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of collections."""

    data: list[Collection]
    next_cursor: str | None


class DocumentList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a collection's documents."""

    data: list[Document]
    next_cursor: str | None


async def create_collection(call: Call[Gateway]) -> Reply:
    """Make a collection. 409 when there is one of this name."""
    body: CollectionBody = call.body
    made = await call.app.collections.create(call.caller.workspace, body.name)
    if made is None:
        raise Problem("conflict", f"There is a collection {body.name!r} already.")
    return Reply(status=201, body=made, headers={"Location": f"/v1/collections/{made.name}"})


async def list_collections(call: Call[Gateway]) -> Reply:
    """The workspace's collections, newest first."""
    query: PageQuery = call.query
    found = await call.app.collections.page(call.caller.workspace, query.after, query.limit + 1)
    return Reply(body=cut(found, query.limit, lambda c: (c.created_at, c.name), lambda c: c))


async def get_collection(call: Call[Gateway]) -> Reply:
    """One collection, with the number of its documents."""
    found = await call.app.collections.find(call.caller.workspace, call.path("name"))
    if found is None:
        raise not_found("collection")
    return Reply(body=found)


async def delete_collection(call: Call[Gateway]) -> Reply:
    """Delete a collection and its documents."""
    if not await call.app.collections.delete(call.caller.workspace, call.path("name")):
        raise not_found("collection")
    return Reply(status=204)


async def add_documents(call: Call[Gateway]) -> Reply:
    """Add documents; once this is answered they are found."""
    body: DocumentsBody = call.body
    for at, document in enumerate(body.documents):
        _check(document, f"/documents/{at}")
    documents = [NewDocument(text=each.text, metadata=each.metadata) for each in body.documents]
    try:
        ids = await call.app.collections.add(call.caller.workspace, call.path("name"), documents)
    except UnknownCollection:
        raise not_found("collection") from None
    except Away:
        raise
    except Failure as failure:
        raise Problem("unavailable", f"The documents could not be embedded: {failure.message}.") from None
    return Reply(status=201, body=Added(count=len(ids), ids=ids))


async def list_documents(call: Call[Gateway]) -> Reply:
    """The documents of a collection, newest first."""
    query: PageQuery = call.query
    workspace, name = call.caller.workspace, call.path("name")
    try:
        found = await call.app.collections.documents(workspace, name, query.after, query.limit + 1)
    except UnknownCollection:
        raise not_found("collection") from None
    return Reply(body=cut(found, query.limit, lambda d: (d.created_at, d.id), lambda d: d))


async def delete_document(call: Call[Gateway]) -> Reply:
    """Delete a document."""
    try:
        workspace, name = call.caller.workspace, call.path("name")
        deleted = await call.app.collections.delete_document(workspace, name, call.path("document_id"))
    except UnknownCollection:
        raise not_found("collection") from None
    if not deleted:
        raise not_found("document")
    return Reply(status=204)


def _check(document: DocumentBody, pointer: str) -> None:
    """Problem `invalid_input` for what is too long, or that PostgreSQL's text cannot hold."""
    metadata = msgspec.json.encode(document.metadata)
    for name, size in (("text", len(document.text.encode())), ("metadata", len(metadata))):
        if size > _MAX_TEXT_BYTES:
            raise invalid(
                Detail(pointer=f"{pointer}/{name}", detail=f"must not be longer than {_MAX_TEXT_BYTES} bytes")
            )
    if "\x00" in document.text:
        raise invalid(Detail(pointer=f"{pointer}/text", detail="must not hold the character U+0000"))


def _route(method: str, path: str, handler: Any, summary: str, **more: Any) -> Route:
    permission: Permission = "read" if method == "GET" else "write"
    return Route(
        method=method, path=path, handler=handler, summary=summary, tag="collections", permission=permission, **more
    )


_ALL = "/v1/collections"
_ONE = "/v1/collections/{name}"
_DOCUMENTS = "/v1/collections/{name}/documents"

ROUTES = (
    _route("POST", _ALL, create_collection, "Make a collection", body=CollectionBody, answer=Collection, status=201),
    _route("GET", _ALL, list_collections, "List collections", query=PageQuery, answer=CollectionList),
    _route("GET", _ONE, get_collection, "One collection", answer=Collection),
    _route("DELETE", _ONE, delete_collection, "Delete a collection and its documents", status=204),
    _route("POST", _DOCUMENTS, add_documents, "Add documents", body=DocumentsBody, answer=Added, status=201),
    _route("GET", _DOCUMENTS, list_documents, "List documents", query=PageQuery, answer=DocumentList),
    _route("DELETE", _DOCUMENTS + "/{document_id}", delete_document, "Delete a document", status=204),
)
