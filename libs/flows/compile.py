"""A flow version made ready to run, once: its order, links, compiled configs and input check.

Callers keep a `CompiledFlow` for as long as the version is in use; a run then only reads it.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from libs.flows.document import Edge, Flow
from libs.flows.graph import descendants, order_of_arrival, topological_order
from libs.flows.inputs import InputReader, input_reader
from libs.flows.nodes import AnyNode
from libs.flows.nodes.api_input import ApiInput
from libs.flows.nodes.api_output import ApiOutput
from libs.flows.nodes.fields import Field
from libs.flows.nodes.prompt import Prompt


class CompiledFlow(msgspec.Struct, frozen=True, kw_only=True):
    """What a run needs of a flow version.

    `nodes`: by id, sources before targets, in the document's order where the edges leave it open.
    `incoming`, `outgoing`: each node's edges, in the document's order.
    `secrets`: the names that lookups read. `uses_session`: whether any node reads the session.
    `straight`: the nodes in the order in which they run, where nothing can change it: every node is pure, none chooses
    a way, and nothing is read or told besides the run's input and output. Empty otherwise.
    """

    flow: Flow
    nodes: dict[str, AnyNode]
    incoming: dict[str, tuple[Edge, ...]]
    outgoing: dict[str, tuple[Edge, ...]]
    inputs: InputReader
    secrets: frozenset[str]
    uses_session: bool
    straight: tuple[AnyNode, ...]

    def read_input(self, raw: object, pointer: str = "/input") -> dict[str, Any]:
        """A caller's input, checked, defaults filled in. Raises `InvalidInput`, pointers beginning with `pointer`."""
        return self.inputs.read(raw, pointer)

    @property
    def files(self) -> dict[str, Field]:
        """The `file` fields of the input by name; the executor reads them before the first node that needs them."""
        return self.inputs.files

    def downstream(self, node_id: str) -> frozenset[str]:
        """Every node that comes after `node_id`; a replay from there takes the others' outputs from the log."""
        return descendants(
            node_id, {source: [edge.target for edge in edges] for source, edges in self.outgoing.items()}
        )


def compile_flow(flow: Flow) -> CompiledFlow:
    """Compiles a valid flow; a flow that didn't come from `load` or `apply_tweaks` may raise anything."""
    nodes = _nodes(flow)
    incoming: dict[str, list[Edge]] = {node.id: [] for node in flow.nodes}
    outgoing: dict[str, list[Edge]] = {node.id: [] for node in flow.nodes}
    for edge in flow.edges:
        incoming[edge.target].append(edge)
        outgoing[edge.source].append(edge)
    links = [(edge.source, edge.target) for edge in flow.edges]
    order = topological_order(list(nodes), links)
    compiled = CompiledFlow(
        flow=flow,
        nodes={node_id: nodes[node_id] for node_id in order},
        incoming={node_id: tuple(edges) for node_id, edges in incoming.items()},
        outgoing={node_id: tuple(edges) for node_id, edges in outgoing.items()},
        inputs=input_reader(flow),
        secrets=_names(nodes.values(), "secret"),
        uses_session=_reads(nodes.values(), "session")
        or any(isinstance(node, Prompt) and node.config.history for node in nodes.values()),
        straight=(),
    )
    if not _is_straight(compiled):
        return compiled
    straight = tuple(nodes[node_id] for node_id in order_of_arrival(order, links))
    return msgspec.structs.replace(compiled, straight=straight)


def _is_straight(compiled: CompiledFlow) -> bool:
    nodes = compiled.nodes.values()
    return not (
        any(node.effects or node.pauses or node.ports for node in nodes)
        or any(isinstance(node, ApiOutput) and node.delivers for node in nodes)
        or _reads(nodes, "secret")
        or compiled.uses_session
        or compiled.files
    )


def _reads(nodes: Iterable[AnyNode], root: str) -> bool:
    return any(reference.root == root for node in nodes for _, reference in node.compiled.references)


def _names(nodes: Iterable[AnyNode], root: str) -> frozenset[str]:
    references = (reference for node in nodes for _, reference in node.compiled.references)
    return frozenset(reference.name for reference in references if reference.root == root and reference.name)


def _nodes(flow: Flow) -> dict[str, AnyNode]:
    inputs = [node for node in flow.nodes if isinstance(node, ApiInput)]
    if len(inputs) < 2:
        return {node.id: node for node in flow.nodes}
    return {
        node.id: node.beside(other for other in inputs if other is not node) if isinstance(node, ApiInput) else node
        for node in flow.nodes
    }
