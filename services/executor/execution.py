"""One run, carried through its flow: what is ready is begun, what ends is settled, until nothing is left.

Pure nodes are evaluated where they stand and their events ride along with the next append; they are computed again
if this process dies. A node with effects begins when its `node.started` is on the log, and so is every end before
it: after a crash no node that finished is begun again, and one that was cut off is, with the same key outward.
"""

import asyncio
import traceback
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog

from libs.events.run import NodeState, RunState, close, seconds_between
from libs.events.run_events import (
    Audience,
    CompletedData,
    FailedData,
    Fault,
    FinishedData,
    NodeFailed,
    NodeFinished,
    NodeRetrying,
    NodeSkipped,
    NodeStarted,
    NodeStartedData,
    RetryingData,
    RunCompleted,
    RunStarted,
    SkippedData,
    StartedData,
    Usage,
)
from libs.flows import (
    SKIPPED,
    AnyNode,
    CompiledFlow,
    Frontier,
    Scope,
    Settled,
    Steps,
    failed,
    finished,
    outcome,
)
from libs.runtime.failures import Failure, Retryable, Terminal
from libs.storage import Away
from services.executor.audience import audience_of, check_audience
from services.executor.deltas import Deltas
from services.executor.effects import Performed, Performer
from services.executor.journal import Journal, utc_now
from services.executor.memory import Memory
from services.executor.metrics import NODE_FAILURES, NODE_RETRIES, NODE_SECONDS, TYPE_OF
from services.executor.resources import Resources
from services.executor.spans import RunSpans

_MAX_OUTPUT_BYTES = 16 * 1024 * 1024
_MAX_PAUSE_SECONDS = 3600.0
_CODES = frozenset({"node_failed", "node_timeout", "egress_refused"})

log = structlog.get_logger()


class RunFailure(Exception):
    """The run cannot go on: a node without `on_error: continue` failed."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Execution:
    """The execution of one run by this process, from whatever the log says of it."""

    def __init__(
        self,
        flow: CompiledFlow,
        journal: Journal,
        performer: Performer,
        executor: str,
        resources: Resources,
        memory: Memory,
        taken_over: Mapping[str, Settled],
        spans: RunSpans | None = None,
    ) -> None:
        self._flow = flow
        self._journal = journal
        self._performer = performer
        self._executor = executor
        self._resources = resources
        self._settled = settled_of(flow, journal.state)
        self._outputs = {node_id: ended.output for node_id, ended in self._settled.items()}
        self._frontier = Frontier.from_settled(flow, self._settled)
        self._tasks: dict[asyncio.Task[Performed], AnyNode] = {}
        self._memory = memory
        self._taken_over = taken_over
        self._spans = spans or RunSpans(None, "")
        self._session: dict[str, Any] = {}

    async def run(self) -> None:
        """Bring the run to its end, on the log. Conflict when the run is not ours (any more)."""
        if self._journal.state.started_at is None:
            data = StartedData(executor=self._executor)
            self._journal.add(lambda seq, run_id, at: RunStarted(seq=seq, run_id=run_id, at=at, data=data))
        self._session = await self._memory.recall()
        self._take_over()
        try:
            await self._within_time()
        except RunFailure as failure:
            self._fail(failure.fault)
        else:
            output = outcome(self._flow, self._settled)
            await self._memory.remember(self._journal.mask.value(output))
            self._complete(output)
        self._journal.audience = self._audience()
        await self._journal.flush()

    def _audience(self) -> Audience | None:
        found = audience_of(self._journal.state.requested, self._flow.nodes.values(), self._scope)
        return None if found is None else found.with_texts(self._journal.mask.text)

    def _take_over(self) -> None:
        """Say of an earlier run's nodes what they gave, without running them; the frontier then goes on from there."""
        for node_id, node in self._flow.nodes.items():
            if node_id in self._taken_over and node_id not in self._settled:
                self._say_started(node, 1)
                self._skip(self._end_finished(node, self._taken_over[node_id].output, None))

    async def _restore(self) -> None:
        """Give the nodes that have ended what they gave where the log has less of it."""
        for node_id, node in self._flow.nodes.items():
            ended = self._settled.get(node_id)
            if ended is None or ended.status != "finished" or not self._resources.lacks(node, ended.output):
                continue
            try:
                await self._resources.read_files(node, ended.output)
                self._outputs[node_id] = node.evaluate(self._scope(node))
            except Away:
                raise
            except Failure as failure:
                raise RunFailure(_fault(node, failure)) from None
            self._settled[node_id] = finished(node, self._outputs[node_id])

    async def _within_time(self) -> None:
        seconds = self._flow.flow.settings.timeout_seconds
        left = seconds - seconds_between(self._journal.state.started_at, utc_now())
        try:
            async with asyncio.timeout(left) as limit:
                await self._drive()
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"the run took longer than {seconds:g} s"
            raise RunFailure(Fault(code="run_timeout", message=message)) from None
        finally:
            await self._stop_tasks()

    async def _drive(self) -> None:
        await self._restore()
        self._take(self._frontier.ready())
        while self._tasks:
            done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                self._end_with_effects(self._tasks.pop(task), task)
            if self._tasks:
                await self._journal.flush()

    def _take(self, steps: Steps) -> None:
        """Begin what may begin; pure nodes end at once and may make others ready."""
        ready = list(steps.start)
        self._skip(steps)
        while ready:
            node = ready.pop(0)
            if node.effects or self._resources.reads_files(node):
                self._tasks[asyncio.create_task(self._attempts(node))] = node
                continue
            further = self._evaluate(node)
            self._skip(further)
            ready += further.start

    def _skip(self, steps: Steps) -> None:
        for node_id in steps.skip:
            self._settled[node_id] = SKIPPED
            self._journal.add(
                lambda seq, run_id, at, node_id=node_id: NodeSkipped(  # type: ignore[misc]  # bound in the loop
                    seq=seq, run_id=run_id, at=at, node=node_id, data=SkippedData()
                )
            )

    def _evaluate(self, node: AnyNode) -> Steps:
        self._say_started(node, 1)
        try:
            output = node.evaluate(self._scope(node))
            check_audience(node, self._scope(node), self._performer.policy)
        except Failure as failure:
            return self._end_failed(node, failure)
        except Exception:  # noqa: BLE001  # a defect ends the node; its text may quote a secret
            told = self._journal.mask.text(traceback.format_exc())
            run_id = self._journal.state.run_id
            log.error("node is defective", run_id=run_id, node_type=type(node).__name__, exception=told)  # noqa: TRY400
            return self._end_failed(node, Terminal("node_failed", "the node failed unexpectedly"))
        return self._end_finished(node, output, None)

    def _end_with_effects(self, node: AnyNode, task: asyncio.Task[Performed]) -> None:
        try:
            performed = task.result()
        except Away:
            raise
        except Failure as failure:
            self._take(self._end_failed(node, failure))
        else:
            self._take(self._end_finished(node, performed.output, performed.usage))

    def _end_finished(self, node: AnyNode, output: Any, usage: Usage | None) -> Steps:
        encoded = msgspec.json.encode(self._resources.stored(node, output))
        if len(encoded) > _MAX_OUTPUT_BYTES:
            message = f"the output is larger than {_MAX_OUTPUT_BYTES} bytes"
            return self._end_failed(node, Terminal("node_failed", message))
        elapsed = seconds_between(self._journal.state.nodes[node.id].started_at, utc_now())
        NODE_SECONDS[type(node)].observe(elapsed)
        self._spans.ended(node)
        data = FinishedData(output=msgspec.Raw(encoded), duration_seconds=elapsed, usage=usage)
        self._journal.add(lambda seq, run_id, at: NodeFinished(seq=seq, run_id=run_id, at=at, node=node.id, data=data))
        return self._settle(node, finished(node, output))

    def _end_failed(self, node: AnyNode, failure: Failure) -> Steps:
        fault = _fault(node, failure)
        elapsed = seconds_between(self._journal.state.nodes[node.id].started_at, utc_now())
        NODE_SECONDS[type(node)].observe(elapsed)
        NODE_FAILURES.labels(TYPE_OF[type(node)], fault.code).inc()
        self._spans.ended(node, fault.code)
        continued = node.on_error == "continue"
        data = FailedData(error=fault, duration_seconds=elapsed, continued=continued)
        self._journal.add(lambda seq, run_id, at: NodeFailed(seq=seq, run_id=run_id, at=at, node=node.id, data=data))
        if not continued:
            raise RunFailure(fault)
        return self._settle(node, failed(node, fault.code, fault.message))

    def _settle(self, node: AnyNode, ended: Settled) -> Steps:
        self._settled[node.id] = ended
        self._outputs[node.id] = ended.output
        return self._frontier.settle(node.id, ended)

    async def _attempts(self, node: AnyNode) -> Performed:
        """Attempts at a node with effects until one succeeds or none is left; the log hears of each first."""
        known = self._journal.state.nodes.get(node.id, NodeState(status="started", attempt=0))
        attempt, failures = known.attempt, known.failures
        if known.status == "retrying" and known.retry_at is not None:
            await _sleep_until(known.retry_at)
        while True:
            attempt += 1
            self._say_started(node, attempt)
            await self._journal.flush()
            try:
                return await self._attempt(node)
            except Away:
                raise
            except Retryable as failure:
                failures += 1
                if failures >= node.retry.max_attempts:
                    raise
                retry_at = utc_now() + timedelta(seconds=_pause(node, failures, failure))
                self._say_retrying(node, attempt, failure, retry_at)
            await self._journal.flush()
            await _sleep_until(retry_at)

    async def _attempt(self, node: AnyNode) -> Performed:
        deltas = Deltas(self._journal, node.id)
        try:
            async with asyncio.timeout(node.timeout_seconds) as limit:
                return await self._perform(node, deltas)
        except TimeoutError:
            if not limit.expired():
                raise
            message = f"the node took longer than {node.timeout_seconds:g} s"
            raise Retryable("node_timeout", message) from None
        finally:
            await deltas.close()

    async def _perform(self, node: AnyNode, deltas: Deltas) -> Performed:
        """Away where a file cannot be read now: the run is then handed back, for that is no fault of the node's."""
        if node.effects:
            return await self._performer.perform(node, self._scope(node), self._resources.run.workspace, deltas.say)
        await self._resources.read_files(node)
        return Performed(output=node.evaluate(self._scope(node)), usage=None)

    def _say_started(self, node: AnyNode, attempt: int) -> None:
        self._spans.started(node, attempt)
        data = NodeStartedData(attempt=attempt)
        self._journal.add(lambda seq, run_id, at: NodeStarted(seq=seq, run_id=run_id, at=at, node=node.id, data=data))

    def _say_retrying(self, node: AnyNode, attempt: int, failure: Retryable, retry_at: datetime) -> None:
        NODE_RETRIES.labels(TYPE_OF[type(node)]).inc()
        fault = Fault(code=failure.code, message=failure.message, node=node.id)
        data = RetryingData(attempt=attempt, error=fault, retry_at=retry_at)
        self._journal.add(lambda seq, run_id, at: NodeRetrying(seq=seq, run_id=run_id, at=at, node=node.id, data=data))

    def _scope(self, node: AnyNode) -> Scope:
        return Scope(
            outputs=self._outputs,
            run=self._resources.facts,
            session=self._session,
            secrets=self._resources.secrets,
            idempotency_key=f"{self._journal.state.run_id}:{node.id}",
            now=utc_now(),
        )

    def _complete(self, value: Any) -> None:
        state = self._journal.state
        output = msgspec.Raw(msgspec.json.encode(value))
        self._journal.add(
            lambda seq, run_id, at: RunCompleted(
                seq=seq,
                run_id=run_id,
                at=at,
                data=CompletedData(
                    output=output,
                    usage=state.usage,
                    started_at=state.started_at,
                    duration_seconds=seconds_between(state.started_at, at),
                ),
            )
        )

    def _fail(self, fault: Fault) -> None:
        node_ids = [node.id for node in self._flow.flow.nodes]
        self._journal.extend(close(self._journal.state, node_ids, fault, utc_now()))

    async def _stop_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


def settled_of(flow: CompiledFlow, state: RunState) -> dict[str, Settled]:
    """What the log says of a run's nodes, in the scheduler's words."""
    found: dict[str, Settled] = {}
    for node_id, node_state in state.nodes.items():
        node = flow.nodes.get(node_id)
        if node is None:
            continue  # another version's, in a replay
        if node_state.status == "finished":
            found[node_id] = finished(node, node_state.output)
        elif node_state.status == "skipped":
            found[node_id] = SKIPPED
        elif node_state.status == "failed" and node_state.error is not None:
            found[node_id] = failed(node, node_state.error.code, node_state.error.message)
    return found


def facts_of(state: RunState) -> dict[str, Any]:
    """What `{{ run.… }}` reads."""
    requested = state.requested
    return {
        "id": state.run_id,
        "flow_id": requested.flow_id,
        "deployment_id": requested.deployment_id,
        "version": requested.version,
        "session_id": requested.session_id,
        "created_at": state.requested_at.isoformat().replace("+00:00", "Z"),
        "input": requested.input,
        "metadata": requested.metadata,
    }


def _fault(node: AnyNode, failure: Failure) -> Fault:
    code = failure.code if failure.code in _CODES else "node_failed"
    return Fault(code=code, message=failure.message, node=node.id)


def _pause(node: AnyNode, failures: int, failure: Retryable) -> float:
    """Seconds before the next attempt: what the other side asked for, else the node's backoff, doubled each time."""
    backoff = node.retry.backoff_seconds * 2.0 ** (failures - 1)
    return min(max(backoff, failure.after or 0.0), _MAX_PAUSE_SECONDS)


async def _sleep_until(moment: datetime) -> None:
    await asyncio.sleep(max(0.0, (moment - utc_now()).total_seconds()))
