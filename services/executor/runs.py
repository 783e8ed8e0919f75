"""Takes runs that were requested, or whose wait is over, and sees each to its end, whoever began it.

On the first delivery of its request a run is new; at any other time somebody may have worked on it, so it is folded
from the log. That the log refuses an append means that the run ended (cancelled, for instance) or that another
executor has it: either way it is left alone.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

import structlog

from libs.catalog.versions import UnknownVersion, Versions
from libs.events.appends import Conflict
from libs.events.broker import Broker, Msg, Unavailable
from libs.events.log import EventLog
from libs.events.pull import Delivery
from libs.events.run import RunState, begin
from libs.events.run_events import Append, Fault, RunRequested, decode_append
from libs.events.subjects import Kind, RunKey, is_group, parse_run_subject
from libs.events.worker import Superseded
from libs.flows import CompiledFlow, apply_tweaks, compile_flow
from libs.runtime.failures import Failure, Retryable, Terminal
from libs.runtime.tracing import begin as begin_span
from libs.storage import Away
from libs.storage.secret_values import Secrets
from services.executor.effects import Performer
from services.executor.endings import Endings
from services.executor.execution import Execution, late_fault
from services.executor.files import Files
from services.executor.journal import Journal, utc_now
from services.executor.masking import Mask
from services.executor.memory import Memory
from services.executor.metrics import ACTIVE, PUT_DOWN, RUN_WAIT_SECONDS
from services.executor.replays import taken_over
from services.executor.resources import Resources
from services.executor.resting import Guard, PutDown, put_down, read_wake
from services.executor.standing import facts_of, read_run
from services.executor.straight import Carried, carry
from services.executor.together import Together
from services.executor.turns import Turns
from services.executor.watching import Watch

_LOOK_SECONDS = 5.0
_PATIENCE_SECONDS = 60.0
_AWAY_BASE_SECONDS = 4.0
"""To the power of the deliveries before: 1, 4, 16, 64 seconds."""

log = structlog.get_logger()


class Runs:
    """The runs that this executor works on."""

    def __init__(
        self,
        broker: Broker,
        event_log: EventLog,
        versions: Versions,
        performer: Performer,
        secrets: Secrets,
        files: Files,
        turns: Turns,
        executor: str,
        lease_seconds: float,
    ) -> None:
        self._broker = broker
        self._log = event_log
        self._versions = versions
        self._performer = performer
        self._secrets = secrets
        self._files = files
        self._turns = turns
        self._executor = executor
        self._lease_seconds = lease_seconds
        self._endings = Endings(broker, event_log, executor)
        self._together = Together(event_log, self._endings, self._flow, executor)
        self._working: dict[str, tuple[RunKey, asyncio.Task[object]]] = {}
        self._cancelled: set[str] = set()
        ACTIVE.set_function(lambda: len(self._working))

    async def on_run_requested(self, delivery: Delivery) -> None:
        """Bring the run to its end, or to where it waits. Superseded when somebody else does.

        A run that needs what is in PostgreSQL while that is away is handed back, and comes again within a minute
        or so; others are not kept waiting for it.
        """
        run, _ = parse_run_subject(delivery.subject)
        if is_group(run.run_id):
            await self._carry_group(run, delivery)
            return
        async with self._turn(run, delivery):
            append = decode_append(delivery.payload)
            state, sequence = await self._state(run, append, delivery)
            await self._carry(run, append, state, sequence, delivery.attempt)

    async def _carry_group(self, group: RunKey, delivery: Delivery) -> None:
        """Bring runs that were asked for together to their ends, or to where they wait."""
        async with self._turn(group, delivery):
            alone = await self._together.carry(delivery)
        if alone:
            done = await asyncio.gather(*[self._carry_alone(run, delivery) for run in alone], return_exceptions=True)
            if failures := [each for each in done if each is not None]:
                raise min(failures, key=_urgency)

    async def _carry_alone(self, run: RunKey, delivery: Delivery) -> None:
        async with self._turn(run, delivery):
            first, state, sequence = await read_run(self._log, run)
            await self._carry(run, first, state, sequence, delivery.attempt)

    async def on_run_due(self, delivery: Delivery) -> None:
        """Go on with a run whose wait is over, or end one whose time is."""
        wake = read_wake(delivery.payload)
        if wake.over:
            await self._end_late(wake.run)
            return
        async with self._turn(wake.run, delivery):
            first, state, sequence = await read_run(self._log, wake.run)
            await self._carry(wake.run, first, state, sequence, delivery.attempt)

    @asynccontextmanager
    async def _turn(self, run: RunKey, delivery: Delivery) -> AsyncIterator[None]:
        if not self._turns.take(run.workspace):
            await self._turns.wait(run.workspace, len(delivery.payload), delivery.attempt)
        try:
            yield
        finally:
            self._turns.leave(run.workspace)

    async def _carry(self, run: RunKey, append: Append, state: RunState, sequence: int, attempt: int) -> None:
        try:
            if state.end is None and not await self._carry_on(run, append, state, sequence, attempt):
                return
        except Away as away:
            raise Retryable(away.code, away.message, after=_AWAY_BASE_SECONDS ** (attempt - 1)) from None
        if state.end is not None:
            await self._endings.answer(append.reply, state.end)

    async def _carry_on(self, run: RunKey, append: Append, state: RunState, sequence: int, attempt: int) -> bool:
        """Whether this process brought the run to its end, which `state` then has."""
        flow = await self._flow(run, state)
        span = begin_span("run", append.trace, "CONSUMER")
        if state.started_at is None and attempt == 1 and (span is None or not span.recorded):
            carried = carry(flow, state, self._executor, append.trace, utc_now)
            if carried is not None and self._log.fits(carried.payload):
                return await self._work(run, self._store(run, state, sequence, carried, append.trace))
        watch = Watch(flow, span, append.trace)
        try:
            return await self._carry_at_length(run, flow, state, sequence, watch)
        finally:
            watch.end(state, attempt)

    async def _carry_at_length(
        self, run: RunKey, flow: CompiledFlow, state: RunState, sequence: int, watch: Watch
    ) -> bool:
        secrets = await self._secrets.read(run.workspace, flow.secrets)
        mask = Mask(secrets.values())
        journal = Journal(self._log, run, state, sequence, self._executor, watch.trace, mask, watch)
        resources = Resources(run, facts_of(state), secrets, self._files)
        memory = Memory(self._broker, run, flow, state)
        earlier = await taken_over(self._log, run, flow, state)
        guard = Guard(self._broker, run, self._lease_seconds)
        execution = Execution(flow, journal, self._performer, self._executor, resources, memory, earlier, guard)
        return await self._work(run, self._at_length(run, execution, journal, watch.trace))

    async def _end_late(self, run: RunKey) -> None:
        """End a run whose time is over. Whoever works on it does the same, and one of the two is first."""
        first, state, sequence = await read_run(self._log, run)
        if state.end is None:
            flow = await self._flow(run, state)
            await self._endings.end(run, first, state, sequence, late_fault(flow), flow)

    async def on_poison(self, delivery: Delivery, failure: Failure) -> bool:
        """End a run that nobody can carry through: accepted runs have an end. False: it had one."""
        run, _ = parse_run_subject(delivery.subject)
        # A group comes here whole only where it cannot be taken apart: then nobody knows of its runs.
        return is_group(run.run_id) or await self._give_up(run, failure)

    async def on_due_poison(self, delivery: Delivery, failure: Failure) -> bool:
        """The same for a run that was put down."""
        return await self._give_up(read_wake(delivery.payload).run, failure)

    async def _give_up(self, run: RunKey, failure: Failure) -> bool:
        first, state, sequence = await read_run(self._log, run)
        if state.end is not None:
            return False
        fault = Fault(code="node_failed", message=f"the run could not be carried out: {failure.message}")
        await self._endings.end(run, first, state, sequence, fault)
        return True

    async def on_cancel(self, message: Msg) -> None:
        """Somebody cancelled a run: stop, if it is here. The log has its end already."""
        self._stop(message.data.decode())

    async def on_share(self, _: Msg) -> None:
        """Another executor is there (or this one itself): it takes what this one has more than it needs."""
        self._turns.share()

    async def watch(self) -> None:
        """Find cancels that were not heard: core NATS may lose them, and a node may take hours."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            for run, _ in list(self._working.values()):
                try:
                    if await self._log.end(run) is not None:
                        self._stop(run.run_id)
                except Unavailable:
                    break

    def _stop(self, run_id: str) -> None:
        working = self._working.get(run_id)
        if working is not None and run_id not in self._cancelled:
            self._cancelled.add(run_id)
            working[1].cancel()

    async def _store(self, run: RunKey, state: RunState, sequence: int, carried: Carried, trace: str | None) -> bool:
        await self._log.append_encoded(
            run, Kind.ENDED, carried.payload, after=sequence, patience_seconds=_PATIENCE_SECONDS
        )
        state.end = carried.end
        self._endings.count([(state, trace)])
        return True

    async def _at_length(self, run: RunKey, execution: Execution, journal: Journal, trace: str | None) -> bool:
        try:
            await execution.run()
        except PutDown as resting:
            await put_down(self._broker, run, resting.until)
            PUT_DOWN.inc()
            return False
        finally:
            await journal.close()
        self._endings.count([(journal.state, trace)])
        return True

    async def _work(self, run: RunKey, carrying: Coroutine[None, None, bool]) -> bool:
        """Whether this process brought the run to its end: whoever else ended it has told those who wait."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("runs are worked on in tasks")
        if run.run_id in self._working:
            carrying.close()
            # The lease ran out while this process could not renew it, and the run came back to it.
            raise Superseded
        self._working[run.run_id] = (run, task)
        try:
            return await carrying
        except Conflict as conflict:
            if parse_run_subject(conflict.last.subject)[1] is not Kind.ENDED:
                raise Superseded from None
            log.info("run ended elsewhere", run_id=run.run_id)
            return False
        except asyncio.CancelledError:
            if run.run_id not in self._cancelled:
                raise
            task.uncancel()
            log.info("run stopped", run_id=run.run_id)
            return False
        finally:
            self._working.pop(run.run_id, None)
            self._cancelled.discard(run.run_id)

    async def _state(self, run: RunKey, append: Append, delivery: Delivery) -> tuple[RunState, int]:
        requested = append.events[0] if append.events else None
        if not isinstance(requested, RunRequested):
            raise Terminal("node_failed", "the first event is not run.requested")
        if delivery.attempt == 1:
            if requested.data.batch_id is None:  # those of a batch are meant to wait for each other
                RUN_WAIT_SECONDS.observe(max(0.0, time.time() - delivery.stored_ns / 1e9))
            return begin(requested), delivery.sequence
        log.info("run resumed", run_id=run.run_id, attempt=delivery.attempt)
        _, state, sequence = await read_run(self._log, run)
        return state, sequence

    async def _flow(self, run: RunKey, state: RunState) -> CompiledFlow:
        requested = state.requested
        try:
            flow = await self._versions.get(run.workspace, requested.flow_id, requested.version)
        except UnknownVersion:
            raise Terminal("node_failed", "the flow version does not exist") from None
        return compile_flow(apply_tweaks(flow.flow, requested.tweaks)) if requested.tweaks else flow


def _urgency(failure: BaseException) -> int:
    """Which failure decides about a message of several runs: one after which it is another's, or comes again."""
    order = (asyncio.CancelledError, Superseded, Unavailable, Retryable)
    worst = len(order) + isinstance(failure, Terminal)
    return next((place for place, kind in enumerate(order) if isinstance(failure, kind)), worst)
