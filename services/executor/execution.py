"""One run, carried through its flow: what is ready is begun, what ends is settled, until nothing is left.

Pure nodes are evaluated where they stand and their events ride along with the next append; they are computed again
if this process dies. A node with effects begins when its `node.started` is on the log, and so is every end before
it: after a crash no node that finished is begun again, and one that was cut off is, with the same key outward. Where
nothing is left to do but to wait, the run is put down (`resting`).
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

from libs.events.run import close
from libs.events.run_events import Audience, Fault
from libs.flows import AnyNode, CompiledFlow, Settled, Steps
from libs.runtime.failures import Failure, Retryable, Terminal
from libs.storage import Away
from services.executor import saying
from services.executor.attempts import Attempts, retry_at
from services.executor.audience import audience_of
from services.executor.effects import Performed, Performer
from services.executor.journal import Journal, utc_now
from services.executor.memory import Memory
from services.executor.progress import Progress, RunFailure
from services.executor.resources import Resources
from services.executor.resting import Guard, PutDown, is_short


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
        guard: Guard,
    ) -> None:
        self._flow = flow
        self._journal = journal
        self._executor = executor
        self._memory = memory
        self._taken_over = taken_over
        self._guard = guard
        self._progress = Progress(flow, journal, resources, performer.policy)
        self._attempts = Attempts(journal, performer, resources, self._progress.scope)
        self._reads_files = resources.reads_files
        self._tasks: dict[asyncio.Task[Performed], AnyNode] = {}
        self._rests: dict[str, datetime] = {}
        """Nodes that wait, and until when."""

    async def run(self) -> None:
        """Bring the run to its end, on the log. PutDown when it waits; Conflict when it is not ours (any more)."""
        if self._journal.state.started_at is None:
            saying.run_started(self._journal, self._executor)
        self._progress.session = await self._memory.recall()
        self._progress.take_over(self._taken_over)
        try:
            await self._within_time()
        except RunFailure as failure:
            self._fail(failure.fault)
        else:
            output = self._progress.outcome()
            await self._memory.remember(self._journal.mask.value(output))
            saying.run_completed(self._journal, output)
        self._journal.audience = self._audience()
        await self._journal.flush()

    async def _within_time(self) -> None:
        seconds = self._flow.flow.settings.timeout_seconds
        began = self._journal.state.started_at or utc_now()
        deadline = began + timedelta(seconds=seconds)
        left = (deadline - utc_now()).total_seconds()
        if left <= 0:
            raise RunFailure(late_fault(self._flow))
        try:
            async with asyncio.timeout(left) as limit:
                await self._drive(deadline)
        except TimeoutError:
            if not limit.expired():
                raise
            raise RunFailure(late_fault(self._flow)) from None
        finally:
            await self._stop_tasks()

    async def _drive(self, deadline: datetime) -> None:
        await self._progress.restore()
        self._take(self._progress.ready())
        while self._tasks or self._rests:
            await self._journal.flush()
            await self._wait(deadline)

    async def _wait(self, deadline: datetime) -> None:
        """Wait for the end of an attempt or of a wait. PutDown where there is nothing but long waits."""
        now, until = utc_now(), min(self._rests.values(), default=deadline)
        if self._tasks:
            until = min(until, await self._guard.watch(now, deadline))
            seconds = max(0.0, (until - now).total_seconds())
            ended, _ = await asyncio.wait(self._tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                self._end_attempt(self._tasks.pop(task), task)
        elif is_short(now, until):
            await asyncio.sleep((until - now).total_seconds())
        else:
            raise PutDown(min(until, deadline))
        self._wake()

    def _wake(self) -> None:
        """Go on with the nodes whose wait is over."""
        now = utc_now()
        for node_id in [node_id for node_id, until in self._rests.items() if until <= now]:
            del self._rests[node_id]
            node = self._flow.nodes[node_id]
            if node.pauses:
                self._take(self._end_pause(node))
            else:
                self._begin(node)

    def _take(self, steps: Steps) -> None:
        """Begin what may begin; pure nodes end at once and may make others ready."""
        ready = list(steps.start)
        self._progress.skip(steps)
        while ready:
            further = self._begin(ready.pop(0))
            if further is not None:
                self._progress.skip(further)
                ready += further.start

    def _begin(self, node: AnyNode) -> Steps | None:
        """Begin a node, or go on waiting for it where the log says so; what follows, if it has ended already."""
        if node.pauses:
            return self._pause(node)
        if not node.effects and not self._reads_files(node):
            return self._progress.evaluate(node)
        known = self._journal.state.nodes.get(node.id)
        if known is not None and known.status == "retrying" and known.retry_at and known.retry_at > utc_now():
            self._rests[node.id] = known.retry_at
        else:
            self._tasks[asyncio.create_task(self._attempts.attempt(node))] = node
        return None

    def _pause(self, node: AnyNode) -> Steps | None:
        known = self._journal.state.nodes.get(node.id)
        if known is None or known.until is None:
            try:
                until = utc_now() + timedelta(seconds=node.pause(self._progress.scope(node)))
            except Failure as failure:
                saying.node_started(self._journal, node.id)
                return self._progress.fail(node, failure)
            saying.node_started(self._journal, node.id, until=until)
        self._rests[node.id] = min(self._times_of(node))
        return None

    def _end_pause(self, node: AnyNode) -> Steps:
        until, limit = self._times_of(node)
        if limit < until:
            late = f"the node took longer than {node.timeout_seconds:g} s"
            return self._progress.fail(node, Terminal("node_timeout", late))
        return self._progress.finish(node, node.evaluate(self._progress.scope(node)), None)

    def _times_of(self, node: AnyNode) -> tuple[datetime, datetime]:
        """When a node that waits will be through, and when its own time is over."""
        known = self._journal.state.nodes[node.id]
        now = utc_now()
        until = known.until or now
        limit = until
        if node.timeout_seconds is not None:
            limit = (known.started_at or now) + timedelta(seconds=node.timeout_seconds)
        return until, limit

    def _end_attempt(self, node: AnyNode, task: asyncio.Task[Performed]) -> None:
        try:
            performed = task.result()
        except Away:
            raise
        except Retryable as failure:
            again = retry_at(node, self._journal.state.nodes[node.id].failures + 1, failure, utc_now())
            if again is None:
                self._take(self._progress.fail(node, failure))
            else:
                fault = Fault(code=failure.code, message=failure.message, node=node.id)
                saying.node_retrying(self._journal, node.id, fault, again)
                self._rests[node.id] = again
        except Failure as failure:
            self._take(self._progress.fail(node, failure))
        else:
            self._take(self._progress.finish(node, performed.output, performed.usage))

    def _fail(self, fault: Fault) -> None:
        node_ids = [node.id for node in self._flow.flow.nodes]
        self._journal.extend(close(self._journal.state, node_ids, fault, utc_now()))

    def _audience(self) -> Audience | None:
        found = audience_of(self._journal.state.requested, self._flow.nodes.values(), self._progress.scope)
        return None if found is None else found.with_texts(self._journal.mask.text)

    async def _stop_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()


def late_fault(flow: CompiledFlow) -> Fault:
    """Why a run fails whose time is over."""
    return Fault(code="run_timeout", message=f"the run took longer than {flow.flow.settings.timeout_seconds:g} s")
