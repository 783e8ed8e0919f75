"""The spans of one run in this process: its own, and below it one for each node, from its first attempt to its end.

Where traces are off there is no run's span, and each of these calls ends in its first line.
"""

from libs.events.run import RunState
from libs.events.run_events import RunFailed
from libs.flows import AnyNode
from libs.runtime.tracing import Span, begin
from services.executor.metrics import TYPE_OF


class RunSpans:
    """The spans below `run`; None: traces are off."""

    def __init__(self, run: Span | None, run_id: str) -> None:
        self._run = run
        self._run_id = run_id
        self._nodes: dict[str, Span] = {}

    @property
    def traceparent(self) -> str | None:
        """What comes of this run's appends is begun with."""
        return None if self._run is None else self._run.traceparent

    def started(self, node: AnyNode, attempt: int) -> None:
        """A node began, or begins again; what it does in this task from now on is below its span."""
        if self._run is None:
            return
        span = self._nodes.get(node.id)
        if span is None:
            kind = TYPE_OF[type(node)]
            told = {"headgate.run.id": self._run_id, "headgate.node.id": node.id, "headgate.node.type": kind}
            span = begin(f"node {kind}", self._run.traceparent, attributes=told)
            if span is None:
                return
            self._nodes[node.id] = span
        span.set({"headgate.node.attempt": attempt})
        span.make_current()

    def ended(self, node: AnyNode, code: str | None = None) -> None:
        """A node ended; `code` says why it failed."""
        if self._run is None:
            return
        span = self._nodes.pop(node.id, None)
        if span is not None:
            if code is not None:
                span.fail(code)
            span.end()

    def end(self, state: RunState, attempt: int) -> None:
        """The run is over here. One that has no end goes on elsewhere, in a span of its own."""
        if self._run is None:
            return
        for span in self._nodes.values():
            span.fail("cut_off")
            span.end()
        requested = state.requested
        self._run.set(
            {
                "headgate.run.id": state.run_id,
                "headgate.flow.id": requested.flow_id,
                "headgate.flow.version": requested.version,
                "headgate.deployment.id": requested.deployment_id,
                "headgate.run.attempt": attempt,
            }
        )
        if isinstance(state.end, RunFailed):
            self._run.fail(state.end.data.error.code)
        self._run.end()
