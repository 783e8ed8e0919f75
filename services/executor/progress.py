"""How far a run has come: what its nodes gave, said on the log as they end, and what may begin after them."""

import traceback
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from libs.egress import Policy
from libs.events.run_events import Fault, Usage
from libs.flows import SKIPPED, AnyNode, CompiledFlow, Frontier, Scope, Settled, Steps, failed, finished, outcome
from libs.runtime.failures import Failure, Terminal
from libs.storage import Away
from services.executor import saying
from services.executor.audience import check_audience
from services.executor.journal import Journal, utc_now
from services.executor.resources import Resources
from services.executor.standing import settled_of

_MAX_OUTPUT_BYTES = 16 * 1024 * 1024
_CODES = frozenset({"node_failed", "node_timeout", "egress_refused"})

log = structlog.get_logger()


class RunFailure(Exception):
    """The run cannot go on: a node without `on_error: continue` failed, or its time is over."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Progress:
    """The nodes of one run that have ended, from whatever the log says of it. `session` is set before nodes run."""

    def __init__(self, flow: CompiledFlow, journal: Journal, resources: Resources, policy: Policy) -> None:
        self.session: dict[str, Any] = {}
        self._flow = flow
        self._journal = journal
        self._resources = resources
        self._policy = policy
        self._settled = settled_of(flow, journal.state)
        self._outputs = {node_id: ended.output for node_id, ended in self._settled.items()}
        self._frontier = Frontier.from_settled(flow, self._settled)

    def ready(self) -> Steps:
        """Where to begin, or to go on."""
        return self._frontier.ready()

    def outcome(self) -> Any:
        """The run's output, once every node has ended."""
        return outcome(self._flow, self._settled)

    def scope(self, node: AnyNode) -> Scope:
        """What a node may read now."""
        return Scope(
            outputs=self._outputs,
            run=self._resources.facts,
            session=self.session,
            secrets=self._resources.secrets,
            idempotency_key=f"{self._journal.state.run_id}:{node.id}",
            now=utc_now(),
        )

    def take_over(self, earlier: Mapping[str, Settled]) -> None:
        """Say of an earlier run's nodes what they gave, without running them; the frontier then goes on from there."""
        for node_id, node in self._flow.nodes.items():
            if node_id in earlier and node_id not in self._settled:
                saying.node_started(self._journal, node.id)
                self.skip(self.finish(node, earlier[node_id].output, None))

    async def restore(self) -> None:
        """Give the nodes that have ended what they gave where the log has less of it. RunFailure; Away."""
        for node_id, node in self._flow.nodes.items():
            ended = self._settled.get(node_id)
            if ended is None or ended.status != "finished" or not self._resources.lacks(node, ended.output):
                continue
            try:
                await self._resources.read_files(node, ended.output)
                self._outputs[node_id] = node.evaluate(self.scope(node))
            except Away:
                raise
            except Failure as failure:
                raise RunFailure(_fault(node, failure)) from None
            self._settled[node_id] = finished(node, self._outputs[node_id])

    def evaluate(self, node: AnyNode) -> Steps:
        """Run a pure node from its start to its end; what follows."""
        saying.node_started(self._journal, node.id)
        try:
            output = node.evaluate(self.scope(node))
            check_audience(node, self.scope(node), self._policy)
        except Failure as failure:
            return self.fail(node, failure)
        except Exception:  # noqa: BLE001  # a defect ends the node; its text may quote a secret
            told = self._journal.mask.text(traceback.format_exc())
            run_id = self._journal.state.run_id
            log.error("node is defective", run_id=run_id, node_type=type(node).__name__, exception=told)  # noqa: TRY400
            return self.fail(node, Terminal("node_failed", "the node failed unexpectedly"))
        return self.finish(node, output, None)

    def finish(self, node: AnyNode, output: Any, usage: Usage | None) -> Steps:
        """Say that a node gave its output; what follows."""
        encoded = msgspec.json.encode(self._resources.stored(node, output))
        if len(encoded) > _MAX_OUTPUT_BYTES:
            message = f"the output is larger than {_MAX_OUTPUT_BYTES} bytes"
            return self.fail(node, Terminal("node_failed", message))
        saying.node_finished(self._journal, node.id, encoded, usage)
        return self._settle(node, finished(node, output))

    def fail(self, node: AnyNode, failure: Failure) -> Steps:
        """Say that a node failed for good; what follows with `on_error: continue`, else RunFailure."""
        fault = _fault(node, failure)
        continued = node.on_error == "continue"
        saying.node_failed(self._journal, node.id, fault, continued=continued)
        if not continued:
            raise RunFailure(fault)
        return self._settle(node, failed(node, fault.code, fault.message))

    def skip(self, steps: Steps) -> None:
        """Say which nodes will not run."""
        for node_id in steps.skip:
            self._settled[node_id] = SKIPPED
            saying.node_skipped(self._journal, node_id)

    def _settle(self, node: AnyNode, ended: Settled) -> Steps:
        self._settled[node.id] = ended
        self._outputs[node.id] = ended.output
        return self._frontier.settle(node.id, ended)


def _fault(node: AnyNode, failure: Failure) -> Fault:
    code = failure.code if failure.code in _CODES else "node_failed"
    return Fault(code=code, message=failure.message, node=node.id)
