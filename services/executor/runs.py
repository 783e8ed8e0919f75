"""Takes runs that were requested and sees each to its end, whoever began it.

On the first delivery a run is new; on any other somebody may have worked on it, so it is folded from the log. That the
log refuses an append means that the run ended (cancelled, for instance) or that another executor has it: either way it
is left alone.
"""

import asyncio
import time
from collections.abc import Coroutine

import structlog

from libs.catalog.versions import UnknownVersion, Versions
from libs.events.broker import Broker, Msg, Unavailable
from libs.events.log import Conflict, EventLog
from libs.events.metrics import ENDED
from libs.events.pull import Delivery
from libs.events.run import RunState, begin, close, fold, requested_audience
from libs.events.run_events import Append, Fault, RunEnd, RunRequested, decode_append, encode_event
from libs.events.subjects import Kind, RunKey, answer_subject, parse_run_subject
from libs.events.worker import Superseded
from libs.flows import CompiledFlow, apply_tweaks, compile_flow
from libs.runtime.failures import Failure, Retryable, Terminal
from libs.runtime.lines import tell_often
from libs.runtime.tracing import begin as begin_span
from libs.runtime.tracing import trace_id
from libs.storage import Away
from libs.storage.secret_values import Secrets
from services.executor.effects import Performer
from services.executor.execution import Execution, facts_of
from services.executor.files import Files
from services.executor.journal import Journal, utc_now
from services.executor.masking import Mask
from services.executor.memory import Memory
from services.executor.metrics import ACTIVE, RUN_SECONDS, RUN_WAIT_SECONDS
from services.executor.replays import taken_over
from services.executor.resources import Resources
from services.executor.spans import RunSpans
from services.executor.straight import Carried, carry

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
        executor: str,
    ) -> None:
        self._broker = broker
        self._log = event_log
        self._versions = versions
        self._performer = performer
        self._secrets = secrets
        self._files = files
        self._executor = executor
        self._working: dict[str, tuple[RunKey, asyncio.Task[object]]] = {}
        self._cancelled: set[str] = set()

    async def on_run_requested(self, delivery: Delivery) -> None:
        """Bring the run to its end. Superseded when somebody else does.

        A run that needs what is in PostgreSQL while that is away is handed back, and comes again within a minute
        or so; others are not kept waiting for it.
        """
        try:
            await self._carry(delivery)
        except Away as away:
            raise Retryable(away.code, away.message, after=_AWAY_BASE_SECONDS ** (delivery.attempt - 1)) from None

    async def _carry(self, delivery: Delivery) -> None:
        run, _ = parse_run_subject(delivery.subject)
        append = decode_append(delivery.payload)
        state, sequence = await self._state(run, append, delivery)
        if state.end is None:
            flow = await self._flow(run, state)
            span = begin_span("run", append.trace, "CONSUMER")
            if delivery.attempt == 1 and (span is None or not span.recorded):
                carried = carry(flow, state, self._executor, append.trace, utc_now)
                if carried is not None and self._log.fits(carried.payload):
                    await self._store(run, state, sequence, carried, append)
                    return
            spans = RunSpans(span, run.run_id)
            try:
                if not await self._carry_at_length(run, flow, state, sequence, append.trace, spans):
                    return
            finally:
                spans.end(state, delivery.attempt)
        if state.end is not None:
            await self._answer(append.reply, state.end)

    async def _carry_at_length(
        self, run: RunKey, flow: CompiledFlow, state: RunState, sequence: int, trace: str | None, spans: RunSpans
    ) -> bool:
        secrets = await self._secrets.read(run.workspace, flow.secrets)
        mask = Mask(secrets.values())
        journal = Journal(self._log, run, state, sequence, self._executor, spans.traceparent or trace, mask)
        resources = Resources(run, facts_of(state), secrets, self._files)
        memory = Memory(self._broker, run, flow, state)
        earlier = await taken_over(self._log, run, flow, state)
        execution = Execution(flow, journal, self._performer, self._executor, resources, memory, earlier, spans)
        return await self._work(run, self._at_length(execution, journal))

    async def on_poison(self, delivery: Delivery, failure: Failure) -> None:
        """End a run that nobody can carry through: accepted runs have an end."""
        run, _ = parse_run_subject(delivery.subject)
        messages = await self._log.read(run)
        state = fold([message.payload for message in messages])
        fault = Fault(code="node_failed", message=f"the run could not be carried out: {failure.message}")
        events = close(state, state.nodes, fault, utc_now())
        if events:
            trace = decode_append(delivery.payload).trace
            append = Append(by=self._executor, events=events, trace=trace, audience=requested_audience(state.requested))
            await self._log.append(run, Kind.ENDED, append, after=messages[-1].sequence)
            ENDED["failed"].inc()

    async def on_cancel(self, message: Msg) -> None:
        """Somebody cancelled a run: stop, if it is here. The log has its end already."""
        self._stop(message.data.decode())

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

    async def _store(self, run: RunKey, state: RunState, sequence: int, carried: Carried, asked: Append) -> None:
        append = self._log.append_encoded(
            run, Kind.ENDED, carried.payload, after=sequence, patience_seconds=_PATIENCE_SECONDS
        )
        state.end = carried.end
        if await self._work(run, append):
            self._ended(state, asked.trace)
            await self._answer(asked.reply, carried.end)

    async def _at_length(self, execution: Execution, journal: Journal) -> None:
        try:
            await execution.run()
            self._ended(journal.state, journal.trace)
        finally:
            await journal.close()

    async def _work(self, run: RunKey, carrying: Coroutine[None, None, object]) -> bool:
        """Whether the end that this process appended is the run's: whoever else ended it has told those who wait."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("runs are worked on in tasks")
        if run.run_id in self._working:
            carrying.close()
            # The lease ran out while this process could not renew it, and the run came back to it.
            raise Superseded
        self._working[run.run_id] = (run, task)
        try:
            with ACTIVE.track_inprogress():
                await carrying
            return True
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
            RUN_WAIT_SECONDS.observe(max(0.0, time.time() - delivery.stored_ns / 1e9))
            return begin(requested), delivery.sequence
        messages = await self._log.read(run)
        log.info("run resumed", run_id=run.run_id, attempt=delivery.attempt, messages=len(messages))
        return fold([message.payload for message in messages]), messages[-1].sequence

    async def _flow(self, run: RunKey, state: RunState) -> CompiledFlow:
        requested = state.requested
        try:
            flow = await self._versions.get(run.workspace, requested.flow_id, requested.version)
        except UnknownVersion:
            raise Terminal("node_failed", "the flow version does not exist") from None
        return compile_flow(apply_tweaks(flow.flow, requested.tweaks)) if requested.tweaks else flow

    def _ended(self, state: RunState, trace: str | None) -> None:
        if state.end is None:
            return
        outcome = str(type(state.end).__struct_config__.tag).removeprefix("run.")
        ENDED[outcome].inc()
        RUN_SECONDS.observe(state.end.data.duration_seconds)
        tell_often(
            "run ended",
            {
                "run_id": state.run_id,
                "flow_id": state.requested.flow_id,
                "outcome": outcome,
                "duration_seconds": state.end.data.duration_seconds,
                **({"trace_id": trace_id(trace)} if trace else {}),
            },
        )

    async def _answer(self, gateway: str | None, end: RunEnd) -> None:
        if gateway is None:
            return
        try:
            await self._broker.publish(answer_subject(gateway, end.run_id), encode_event(end))
        except Unavailable:
            log.info("answer not sent", run_id=end.run_id)
