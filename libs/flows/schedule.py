"""What to do next, decided from what is settled. Pure: the executor does it and tells the outcome.

A node runs when every edge into it is settled and at least one was taken; without incoming edges, at once; else
it is skipped. An edge is taken when its source finished, at the edge's port if it has one, or failed with
`on_error: continue`. A failed condition that continues goes out at `else`.
"""

from collections.abc import Collection, Mapping
from typing import Any, Literal

import msgspec

from libs.flows.compile import CompiledFlow
from libs.flows.nodes import AnyNode
from libs.flows.nodes.api_output import ApiOutput
from libs.flows.nodes.condition import ELSE


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """How a node ended. `port` is the one that a branching node chose."""

    status: Literal["finished", "failed", "skipped"]
    output: Any = None
    port: str | None = None


SKIPPED = Settled(status="skipped")


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """What follows: nodes to start, nodes that are skipped now, and whether every node is settled."""

    start: tuple[AnyNode, ...]
    skip: tuple[str, ...]
    done: bool


def finished(node: AnyNode, output: Any) -> Settled:
    """A node that returned `output`."""
    return Settled(status="finished", output=output, port=output["port"] if node.ports else None)


def failed(node: AnyNode, code: str, message: str) -> Settled:
    """A node that failed for good. With `on_error: continue` its output reads as what went wrong."""
    if node.on_error == "fail":
        return Settled(status="failed")
    output = {"error": {"code": code, "message": message}}
    return Settled(status="failed", output=output, port=ELSE if node.ports else None)


class Frontier:
    """The edge between what is settled and what is not, moved node by node at the cost of the node's edges."""

    def __init__(self, compiled: CompiledFlow) -> None:
        self._compiled = compiled
        self._waiting = {node_id: len(edges) for node_id, edges in compiled.incoming.items()}
        self._taken: set[str] = set()
        self._open = set(compiled.nodes)
        self._unsaid: list[str] = []

    @classmethod
    def from_settled(cls, compiled: CompiledFlow, settled: Mapping[str, Settled]) -> "Frontier":
        """The frontier of a run whose log says `settled`; `ready()` then says how it goes on."""
        frontier = cls(compiled)
        for node_id in compiled.nodes:
            if node_id in settled and node_id in frontier._open:
                skip = frontier.settle(node_id, settled[node_id]).skip
                frontier._unsaid += [each for each in skip if each not in settled]
        return frontier

    def ready(self) -> Steps:
        """Where to begin, or to go on after `from_settled`.

        `start`: every node that may run and isn't settled. `skip`: what `settled` left unsaid.
        """
        start = tuple(
            node
            for node_id, node in self._compiled.nodes.items()
            if node_id in self._open and not self._waiting[node_id]
        )
        return Steps(start=start, skip=tuple(self._unsaid), done=not self._open)

    def settle(self, node_id: str, settled: Settled) -> Steps:
        """What becomes possible, or impossible, now that `node_id` has ended. Raises KeyError if it had before."""
        self._open.remove(node_id)
        start: list[AnyNode] = []
        skip: list[str] = []
        pending = [(node_id, settled)]
        while pending:
            source, ended = pending.pop()
            goes_on = self._goes_on(source, ended)
            for edge in self._compiled.outgoing[source]:
                target = edge.target
                if goes_on and (edge.source_port is None or edge.source_port == ended.port):
                    self._taken.add(target)
                self._waiting[target] -= 1
                if self._waiting[target] or target not in self._open:
                    continue
                if target in self._taken:
                    start.append(self._compiled.nodes[target])
                else:
                    self._open.remove(target)
                    skip.append(target)
                    pending.append((target, SKIPPED))
        return Steps(start=tuple(start), skip=tuple(skip), done=not self._open)

    def _goes_on(self, node_id: str, ended: Settled) -> bool:
        if ended.status == "failed":
            return self._compiled.nodes[node_id].on_error == "continue"
        return ended.status == "finished"


def next_steps(compiled: CompiledFlow, settled: Mapping[str, Settled], started: Collection[str]) -> Steps:
    """The whole decision from the log alone: what to start that isn't started, what to skip that isn't settled."""
    ready = Frontier.from_settled(compiled, settled).ready()
    start = tuple(node for node in ready.start if node.id not in started)
    return Steps(start=start, skip=ready.skip, done=ready.done)


def outcome(compiled: CompiledFlow, settled: Mapping[str, Settled]) -> Any:
    """The output of a run whose nodes are all settled.

    The value of the one `api_output` that finished; of several, their values by node id; null if none did. In a
    flow without `api_output`, the output of the last node that finished, in topological order.
    """
    ends = [node_id for node_id in compiled.nodes if _finished(settled, node_id)]
    outlets = {node_id for node_id, node in compiled.nodes.items() if isinstance(node, ApiOutput)}
    if not outlets:
        return settled[ends[-1]].output if ends else None
    outputs = {node_id: settled[node_id].output for node_id in ends if node_id in outlets}
    if len(outputs) == 1:
        return next(iter(outputs.values()))
    return outputs or None


def _finished(settled: Mapping[str, Settled], node_id: str) -> bool:
    ended = settled.get(node_id)
    return ended is not None and ended.status == "finished"
