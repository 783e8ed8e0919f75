"""The run of a flow that reaches nothing outside: one node after the other."""

from collections.abc import Mapping
from typing import Any

from libs.flows.export.runtime.scope import first_scope
from libs.flows.export.runtime.settling import Node, Settled, failed, finished, is_due, outcome
from libs.runtime.failures import Failure


def in_order(nodes: Mapping[str, Node], given: dict[str, Any]) -> Any:
    """The run's output; `nodes` stand behind their sources. Raises `RunFailure`."""
    scope = first_scope(given)
    settled: dict[str, Settled] = {}
    for node_id, node in nodes.items():
        if not is_due(node, settled):
            settled[node_id] = Settled()
            continue
        try:
            settled[node_id] = finished(node, node["run"](scope))
        except Failure as failure:
            settled[node_id] = failed(node_id, node, failure)
        scope.outputs[node_id] = settled[node_id].output
    return outcome(nodes, settled)
