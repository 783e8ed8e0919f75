"""How nodes end, what then follows, and what the run's output is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

from libs.flows.export.runtime.scope import Scope
from libs.runtime.failures import Failure


class Node(TypedDict):
    """One step of the flow.

    `after`: the edges into it, each a node and the port it leaves by (or None). `chooses`: its output names a
    port. `gives_output`: it is an `api_output`. `goes_on`: others follow even if it fails. `outside`: it reaches
    the network, so it has attempts, a backoff between them (doubled each time) and a time limit for each.
    """

    run: Callable[[Scope], Any]
    after: NotRequired[list[tuple[str, str | None]]]
    chooses: NotRequired[bool]
    gives_output: NotRequired[bool]
    goes_on: NotRequired[bool]
    outside: NotRequired[bool]
    attempts: NotRequired[int]
    backoff_seconds: NotRequired[float]
    timeout_seconds: NotRequired[float]


@dataclass(frozen=True, kw_only=True)
class Settled:
    """How a node ended: whether it finished, whether the edges behind it may be taken, and by which port."""

    finished: bool = False
    goes_on: bool = False
    output: Any = None
    port: str | None = None


class RunFailure(Failure):
    """The run can't go on; `node` is the one that failed, if it was one."""

    def __init__(self, code: str, message: str, node: str | None = None) -> None:
        super().__init__(code, message)
        self.node = node


def is_due(node: Node, settled: Mapping[str, Settled]) -> bool:
    """Whether a node whose sources are all settled runs: at least one edge into it was taken."""
    after = node.get("after", [])
    return not after or any(
        settled[source].goes_on and (port is None or port == settled[source].port) for source, port in after
    )


def finished(node: Node, output: Any) -> Settled:
    """A node that returned `output`."""
    return Settled(finished=True, goes_on=True, output=output, port=output["port"] if node.get("chooses") else None)


def failed(node_id: str, node: Node, failure: Failure) -> Settled:
    """A node that failed for good; if others follow it, its output says what went wrong. Else `RunFailure`."""
    if not node.get("goes_on"):
        raise RunFailure(failure.code, failure.message, node_id) from None
    output = {"error": {"code": failure.code, "message": failure.message}}
    return Settled(goes_on=True, output=output, port="else" if node.get("chooses") else None)


def outcome(nodes: Mapping[str, Node], settled: Mapping[str, Settled]) -> Any:
    """The value of the one `api_output` that finished; of several, their values by node id; null if none did.

    In a flow without `api_output`, the output of the last node that finished.
    """
    ends = [node_id for node_id in nodes if settled[node_id].finished]
    if not any(node.get("gives_output") for node in nodes.values()):
        return settled[ends[-1]].output if ends else None
    outputs = {node_id: settled[node_id].output for node_id in ends if nodes[node_id].get("gives_output")}
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs or None
