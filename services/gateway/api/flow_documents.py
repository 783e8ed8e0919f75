"""Flow documents as callers send them and as they are shown."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from libs.edge.problems import Detail, Problem
from libs.events.managed import FlowHead, FlowVersion
from libs.flows import Flow, InvalidFlow, load

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


def read_document(document: Any) -> Flow:
    """The document, valid. Problem `invalid_input` with every fault and its JSON Pointer."""
    try:
        return load(document)
    except InvalidFlow as error:
        faults = [Detail(pointer=fault.pointer, detail=fault.detail) for fault in error.faults]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        place = faults[0].pointer or "The document"
        raise Problem("invalid_input", f"{place}: {faults[0].detail}{more}.", faults) from None


def answer(head: FlowHead, version: FlowVersion) -> FlowAnswer:
    """One version as callers see it."""
    document = version.document
    return FlowAnswer(
        id=head.id,
        slug=document["slug"],
        version=version.version,
        name=document["name"],
        description=document.get("description", ""),
        settings=document.get("settings", {}),
        nodes=document["nodes"],
        edges=document.get("edges", []),
        created_at=head.created_at,
        updated_at=version.created_at,
    )


def summary(head: FlowHead) -> FlowSummary:
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
