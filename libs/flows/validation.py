"""JSON in, a valid `Flow` out, or every fault at once.

The order: is it JSON of bounded depth; the envelope by its schema; each node by the schema of its own type and
by what its config compiles to; ids; edges; references. What one step refuses, the next leaves out, so a typo in
one node doesn't hide the cycle behind it.
"""

from functools import cache
from typing import Any

import msgspec
from jsonschema_rs import Draft202012Validator

from libs.flows.document import MAX_EDGES, MAX_NODES, Flow, slug_of
from libs.flows.edges import edge_faults, well_formed
from libs.flows.faults import MAX_FAULTS, Fault, InvalidFlow, printable
from libs.flows.graph import ancestors, cycle_text, cycles, topological_order
from libs.flows.lookups import ROOTS
from libs.flows.nodes import NODE_TYPES, AnyNode
from libs.flows.nodes.api_input import ApiInput
from libs.flows.nodes.node import Node, config_type
from libs.flows.schemas import schema_faults, struct_schema, validator
from libs.flows.weight import Unfit, weigh

MAX_DOCUMENT_BYTES = 10 * 1024 * 1024
MAX_FIELDS = 200
"""In all `api_input` nodes of a flow together."""


def load(document: object) -> Flow:
    """The flow that a decoded JSON document describes. Raises `InvalidFlow`, and nothing else, whatever it is."""
    try:
        weigh(document, MAX_DOCUMENT_BYTES)
    except Unfit as unfit:
        raise InvalidFlow([Fault(pointer="", detail=f"is {unfit}")]) from None
    faults = schema_faults(_envelope(), document, "")
    if not isinstance(document, dict):
        raise InvalidFlow(faults)
    raw_nodes = _items(document, "nodes", MAX_NODES)
    if _field_count(raw_nodes) > MAX_FIELDS:
        raise InvalidFlow([*faults, Fault(pointer="/nodes", detail=f"declares more than {MAX_FIELDS} fields")])
    nodes = [_node(raw, f"/nodes/{at}", faults) for at, raw in enumerate(raw_nodes)]
    ids = _ids(raw_nodes, faults)
    known = {node.id: node for node in nodes if node is not None}
    links = edge_faults(well_formed(_items(document, "edges", MAX_EDGES)), ids, known, faults)
    _cycle_faults(ids, links, faults)
    order = topological_order(list(ids), links)
    if len(order) == len(ids):
        before = ancestors(order, links)
        for at, node in enumerate(nodes):
            if node is not None:
                faults += reference_faults(node, f"/nodes/{at}/config", ids, before[node.id])
    if faults:
        raise InvalidFlow(faults)
    flow = msgspec.convert({"slug": slug_of(document["name"]), **document, "nodes": raw_nodes[:1]}, Flow)
    return msgspec.structs.replace(flow, nodes=tuple(node for node in nodes if node is not None))


def deployable(flow: Flow) -> list[Fault]:
    """What keeps a valid flow from being deployed: it must take input and do something with it."""
    faults = []
    if not any(isinstance(node, ApiInput) for node in flow.nodes):
        faults.append(Fault(pointer="/nodes", detail="a deployable flow has an api_input node"))
    if not any(node.processing for node in flow.nodes):
        types = ", ".join(name for name, node in NODE_TYPES.items() if node.processing)
        faults.append(Fault(pointer="/nodes", detail=f"a deployable flow has a processing node, one of {types}"))
    return faults


def node_faults(raw: Any, pointer: str) -> tuple[AnyNode | None, list[Fault]]:
    """One node of a document by itself: the node if its shape is right, and whatever is wrong with it."""
    tag = raw.get("type") if isinstance(raw, dict) else None
    if not isinstance(tag, str) or tag not in NODE_TYPES:
        return None, _type_faults(raw, tag, pointer)
    faults = schema_faults(_checker(tag), raw, pointer)
    try:
        node: AnyNode = msgspec.convert(_known_part(raw, NODE_TYPES[tag]) if faults else raw, NODE_TYPES[tag])
    except msgspec.ValidationError as error:
        return None, faults or [Fault(pointer=pointer, detail=printable(str(error)))]
    prefix = f"{pointer}/config"
    faults += [Fault(pointer=prefix + fault.pointer, detail=fault.detail) for fault in node.compiled.faults]
    config_keys = node.config.__struct_fields__
    for name in ("locked", "tweakable"):
        for at, key in enumerate(getattr(node, name)):
            if key not in config_keys:
                faults.append(Fault(pointer=f"{pointer}/{name}/{at}", detail=f"is not a config key of {tag}"))
    return node, faults


def reference_faults(node: AnyNode, pointer: str, ids: dict[str, int], before: frozenset[str]) -> list[Fault]:
    """The references of a node's config that name no node, or one that doesn't come before it."""
    faults = []
    for place, reference in node.compiled.references:
        root = reference.root
        if root in ROOTS or root in before:
            continue
        shown = printable(root)
        detail = f"{shown!r} does not come before {node.id!r}" if root in ids else f"there is no node {shown!r}"
        faults.append(Fault(pointer=pointer + place, detail=detail))
    return faults


@cache
def _envelope() -> Draft202012Validator:
    """The schema of everything but the nodes, whose faults read better by the schema of each one's type."""
    schema = struct_schema(Flow)
    schema["properties"]["nodes"]["items"] = {}
    schema["$defs"] = {name: schema["$defs"][name] for name in ("Edge", "Settings")}
    return validator(schema)


@cache
def _checker(tag: str) -> Draft202012Validator:
    return validator(struct_schema(NODE_TYPES[tag]))


def _items(document: dict[str, Any], key: str, limit: int) -> list[Any]:
    """The list at `key`, if there is one of a length worth a closer look."""
    items = document.get(key)
    return items if isinstance(items, list) and len(items) <= limit else []


def _field_count(raw_nodes: list[Any]) -> int:
    """How many fields are declared, counted before any is compiled: each may hold a pattern of milliseconds."""
    configs = (raw.get("config") for raw in raw_nodes if isinstance(raw, dict))
    fields = (config.get("fields") for config in configs if isinstance(config, dict))
    return sum(len(each) for each in fields if isinstance(each, list))


def _node(raw: Any, pointer: str, faults: list[Fault]) -> AnyNode | None:
    node, own = node_faults(raw, pointer)
    faults += own
    return node


def _known_part(raw: dict[str, Any], node: type[Node[Any]]) -> dict[str, Any]:
    """`raw` without unknown keys, so that what stands beside a typo is looked at too."""
    known = {key: value for key, value in raw.items() if key in ("type", *node.__struct_fields__)}
    config = known.get("config")
    if isinstance(config, dict):
        keys = config_type(node).__struct_fields__
        known["config"] = {key: value for key, value in config.items() if key in keys}
    return known


def _type_faults(raw: Any, tag: Any, pointer: str) -> list[Fault]:
    if not isinstance(raw, dict):
        return [Fault(pointer=pointer, detail="must be object")]
    if "type" not in raw:
        return [Fault(pointer=f"{pointer}/type", detail="is required")]
    shown = f"unknown node type {printable(tag)!r}" if isinstance(tag, str) else "is not a node type"
    return [Fault(pointer=f"{pointer}/type", detail=f"{shown}; known: {', '.join(NODE_TYPES)}")]


def _ids(raw_nodes: list[Any], faults: list[Fault]) -> dict[str, int]:
    """Each id and where it first stands, whether or not the rest of the node is right."""
    ids: dict[str, int] = {}
    for at, raw in enumerate(raw_nodes):
        node_id = raw.get("id") if isinstance(raw, dict) else None
        if not isinstance(node_id, str):
            continue
        pointer = f"/nodes/{at}/id"
        if node_id in ROOTS:
            faults.append(Fault(pointer=pointer, detail=f"{node_id!r} is reserved"))
        if ids.setdefault(node_id, at) != at:
            faults.append(Fault(pointer=pointer, detail=f"{printable(node_id)!r} is already /nodes/{ids[node_id]}"))
    return ids


def _cycle_faults(ids: dict[str, int], links: list[tuple[str, str]], faults: list[Fault]) -> None:
    found = cycles(list(ids), links, MAX_FAULTS)
    faults += [Fault(pointer="/edges", detail=f"cycle: {cycle_text(cycle)}") for cycle in found]
