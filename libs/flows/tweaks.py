"""Settings of nodes that a caller changes for one run, without touching the flow.

Open by default, but for what belongs to the flow's owner: each node type guards its addresses, headers and
deliveries, which a node opens by listing them in `tweakable`, and a node closes others by `locked`. A tweak may
hold lookups like any config, but never of a secret: it would hand the owner's credentials to the caller.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.flows.document import Flow
from libs.flows.faults import Fault, InvalidTweaks, pointer_to, printable
from libs.flows.graph import ancestors, topological_order
from libs.flows.nodes import AnyNode
from libs.flows.validation import node_faults, reference_faults
from libs.flows.weight import Unfit, weigh


def apply_tweaks(flow: Flow, tweaks: Mapping[str, Any], pointer: str = "/tweaks") -> Flow:
    """The flow with `{node_id: {config key: value}}` put in; nodes without tweaks stay the same objects.

    Raises `InvalidTweaks` with every fault, their pointers beginning with `pointer`.
    """
    try:
        weigh(dict(tweaks))
    except Unfit as unfit:
        raise InvalidTweaks([Fault(pointer=pointer, detail=f"is {unfit}")]) from None
    nodes = {node.id: node for node in flow.nodes}
    faults: list[Fault] = []
    for node_id, changes in tweaks.items():
        place = pointer_to(pointer, [node_id])
        if node_id not in nodes:
            faults.append(Fault(pointer=place, detail=f"there is no node {printable(node_id)!r}"))
        elif not isinstance(changes, dict):
            faults.append(Fault(pointer=place, detail="must be object"))
        elif changes:
            nodes[node_id] = _tweaked(flow, nodes[node_id], changes, place, faults)
    if faults:
        raise InvalidTweaks(faults)
    return msgspec.structs.replace(flow, nodes=tuple(nodes.values()))


def _tweaked(flow: Flow, node: AnyNode, changes: dict[str, Any], pointer: str, faults: list[Fault]) -> AnyNode:
    """The changed node; the node itself where it may not be changed so."""
    refused = _closed_faults(node, changes, pointer)
    if refused:
        faults += refused
        return node
    raw = msgspec.to_builtins(node)
    raw["config"] = {**raw.get("config", {}), **changes}
    changed, found = node_faults(raw, "")
    if changed is not None and not found:
        found = _secret_faults(changed, changes) + _new_reference_faults(flow, changed)
    if changed is None or found:
        faults += [
            Fault(pointer=pointer + fault.pointer.removeprefix("/config"), detail=fault.detail) for fault in found
        ]
        return node
    return changed


def _closed_faults(node: AnyNode, changes: dict[str, Any], pointer: str) -> list[Fault]:
    keys = node.config.__struct_fields__
    closed = (node.guarded | frozenset(node.locked)) - frozenset(node.tweakable)
    faults = []
    for key in changes:
        place = pointer_to(pointer, [key])
        if key not in keys:
            faults.append(Fault(pointer=place, detail=f"is not a config key; known: {', '.join(keys)}"))
        elif key in closed:
            faults.append(Fault(pointer=place, detail="is locked"))
    return faults


def _secret_faults(node: AnyNode, changes: dict[str, Any]) -> list[Fault]:
    return [
        Fault(pointer=f"/config{place}", detail="a tweak can't read secrets")
        for place, reference in node.compiled.references
        if reference.root == "secret" and place.split("/")[1] in changes
    ]


def _new_reference_faults(flow: Flow, node: AnyNode) -> list[Fault]:
    ids = {other.id: at for at, other in enumerate(flow.nodes)}
    links = [(edge.source, edge.target) for edge in flow.edges]
    before = ancestors(topological_order(list(ids), links), links)
    return reference_faults(node, "/config", ids, before[node.id])
