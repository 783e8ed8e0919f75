"""What is seen of a run by those who watch: nodes counted and timed, and spans, from its events as they are said.

There is one span for the run in this process, and below it one for each node, from its first attempt to its end. Where
traces are off there is no run's span, and what is left costs a look into two dictionaries an event.
"""

from libs.events.run import RunState
from libs.events.run_events import NodeFailed, NodeFinished, NodeRetrying, NodeStarted, RunEvent, RunFailed
from libs.flows import CompiledFlow
from libs.runtime.tracing import Span, begin
from services.executor.metrics import NODE_FAILURES, NODE_RETRIES, NODE_SECONDS, TYPE_OF


class Watch:
    """Watches one run of a flow; `span` is the run's own, None where traces are off."""

    def __init__(self, flow: CompiledFlow, span: Span | None, trace: str | None) -> None:
        self._flow = flow
        self._span = span
        self._nodes: dict[str, Span] = {}
        self.trace = trace if span is None else span.traceparent
        """What comes of the run's appends is begun with."""

    def saw(self, event: RunEvent) -> None:
        """Take one event, as it is said."""
        match event:
            case NodeStarted():
                if self._span is not None:
                    self._start(self._span, event)
            case NodeFinished():
                self._ended(event)
            case NodeFailed():
                self._ended(event)
                NODE_FAILURES.labels(self._type_of(event.node), event.data.error.code).inc()
            case NodeRetrying():
                NODE_RETRIES.labels(self._type_of(event.node)).inc()
            case _:
                return

    def end(self, state: RunState, attempt: int) -> None:
        """The run is over here. One that has no end goes on elsewhere, or later, in a span of its own."""
        if self._span is None:
            return
        for span in self._nodes.values():
            span.set({"headgate.node.goes_on": True})
            span.end()
        requested = state.requested
        self._span.set(
            {
                "headgate.run.id": state.run_id,
                "headgate.flow.id": requested.flow_id,
                "headgate.flow.version": requested.version,
                "headgate.deployment.id": requested.deployment_id,
                "headgate.run.attempt": attempt,
            }
        )
        if isinstance(state.end, RunFailed):
            self._span.fail(state.end.data.error.code)
        self._span.end()

    def _start(self, run: Span, event: NodeStarted) -> None:
        """What the node does in this task from now on is below its span."""
        span = self._nodes.get(event.node)
        if span is None:
            kind = self._type_of(event.node)
            told = {"headgate.run.id": event.run_id, "headgate.node.id": event.node, "headgate.node.type": kind}
            span = begin(f"node {kind}", run.traceparent, attributes=told)
            if span is None:
                return
            self._nodes[event.node] = span
        span.set({"headgate.node.attempt": event.data.attempt})
        span.make_current()

    def _ended(self, event: NodeFinished | NodeFailed) -> None:
        node = self._flow.nodes.get(event.node)
        if node is not None:
            NODE_SECONDS[type(node)].observe(event.data.duration_seconds)
        span = self._nodes.pop(event.node, None)
        if span is not None:
            if isinstance(event, NodeFailed):
                span.fail(event.data.error.code)
            span.end()

    def _type_of(self, node_id: str) -> str:
        node = self._flow.nodes.get(node_id)
        return "unknown" if node is None else TYPE_OF[type(node)]
