"""A flow version made ready to run, once: its order, links, compiled configs and input check.

Callers keep a `CompiledFlow` for as long as the version is in use; a run then only reads it.
"""

from typing import Any

import msgspec

from libs.flows.document import Edge, Flow
from libs.flows.graph import descendants, topological_order
from libs.flows.inputs import InputReader, input_reader
from libs.flows.nodes import AnyNode
from libs.flows.nodes.api_input import ApiInput
from libs.flows.nodes.fields import Field
from libs.flows.nodes.prompt import Prompt


class CompiledFlow(msgspec.Struct, frozen=True, kw_only=True):
    """What a run needs of a flow version.

    `nodes`: by id, sources before targets, in the document's order where the edges leave it open.
    `incoming`, `outgoing`: each node's edges, in the document's order.
    `secrets`: the names that lookups read. `uses_session`: whether any node reads the session.
    """

    flow: Flow
    nodes: dict[str, AnyNode]
    incoming: dict[str, tuple[Edge, ...]]
    outgoing: dict[str, tuple[Edge, ...]]
    inputs: InputReader
    secrets: frozenset[str]
    uses_session: bool

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
    order = topological_order(list(nodes), [(edge.source, edge.target) for edge in flow.edges])
    references = [reference for node in nodes.values() for _, reference in node.compiled.references]
    return CompiledFlow(
        flow=flow,
        nodes={node_id: nodes[node_id] for node_id in order},
        incoming={node_id: tuple(edges) for node_id, edges in incoming.items()},
        outgoing={node_id: tuple(edges) for node_id, edges in outgoing.items()},
        inputs=input_reader(flow),
        secrets=frozenset(reference.name for reference in references if reference.root == "secret" and reference.name),
        uses_session=any(reference.root == "session" for reference in references)
        or any(isinstance(node, Prompt) and node.config.history for node in nodes.values()),
    )


def _nodes(flow: Flow) -> dict[str, AnyNode]:
    inputs = [node for node in flow.nodes if isinstance(node, ApiInput)]
    if len(inputs) < 2:
        return {node.id: node for node in flow.nodes}
    return {
        node.id: node.beside(other for other in inputs if other is not node) if isinstance(node, ApiInput) else node
        for node in flow.nodes
    }
