"""The edges of a document: that they join nodes that exist, once each, and leave by ports that exist."""

from typing import Any

import msgspec

from libs.flows.document import Edge
from libs.flows.faults import Fault, printable
from libs.flows.nodes import AnyNode


def well_formed(raw_edges: list[Any]) -> dict[int, Edge]:
    """The well-formed edges by their place; the envelope's schema has told the faults of the others."""
    edges = {}
    for at, raw in enumerate(raw_edges):
        try:
            edges[at] = msgspec.convert(raw, Edge)
        except msgspec.ValidationError:
            continue
    return edges


def edge_faults(
    edges: dict[int, Edge], ids: dict[str, int], known: dict[str, AnyNode], faults: list[Fault]
) -> list[tuple[str, str]]:
    """Adds the faults of edges; returns the sound links (source, target)."""
    links = []
    first_at: dict[tuple[str, str, str | None], int] = {}
    for at, edge in edges.items():
        pointer = f"/edges/{at}"
        missing = {end: name for end, name in (("source", edge.source), ("target", edge.target)) if name not in ids}
        faults += [
            Fault(pointer=f"{pointer}/{end}", detail=f"there is no node {printable(name)!r}")
            for end, name in missing.items()
        ]
        first = first_at.setdefault((edge.source, edge.target, edge.source_port), at)
        if first != at:
            faults.append(Fault(pointer=pointer, detail=f"repeats /edges/{first}"))
        elif edge.source == edge.target:
            faults.append(Fault(pointer=pointer, detail="leads from a node to itself"))
        elif not missing:
            links.append((edge.source, edge.target))
        if edge.source in known:
            faults += _port_faults(edge, known[edge.source], f"{pointer}/source_port")
    return links


def _port_faults(edge: Edge, source: AnyNode, pointer: str) -> list[Fault]:
    port, ports = edge.source_port, source.ports
    if not ports and port is not None:
        return [Fault(pointer=pointer, detail=f"{source.id!r} has no ports")]
    if ports and port is None:
        return [Fault(pointer=pointer, detail=f"is required; {source.id!r} has the ports {', '.join(ports)}")]
    if ports and port not in ports:
        return [Fault(pointer=pointer, detail=f"{source.id!r} has only the ports {', '.join(ports)}")]
    return []
