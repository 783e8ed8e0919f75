"""Runs that were asked for together: carried through one after the other, their ends stored and told together.

That goes for the first delivery of a group, and for those of its runs whose way is straight. Every other run leaves the
group and is carried by itself: one of which a node fails, one that was cancelled meanwhile, all of a group whose
executor died, those that would keep the others waiting. So nothing is repeated here of what is hard, and a run that
kills the process takes no other along twice.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic, time

import msgspec
import structlog

from libs.events.appends import Conflict
from libs.events.groups import Part, encode_group, left_of, parts_of
from libs.events.log import EventLog
from libs.events.pull import Delivery
from libs.events.reads import Stored
from libs.events.run import RunState, begin
from libs.events.run_events import (
    Append,
    RunCancelled,
    RunCompleted,
    RunEnd,
    RunFailed,
    RunRequested,
    decode_append,
    last_event,
)
from libs.events.subjects import Kind, RunKey, parse_run_subject
from libs.flows import CompiledFlow
from libs.runtime.failures import Failure
from services.executor.endings import Endings
from services.executor.journal import utc_now
from services.executor.metrics import RUN_WAIT_SECONDS
from services.executor.straight import Carried, carry

MAX_BYTES = 512 * 1024
"""What the ends of a group hold together at most; runs whose ends would be more go by themselves."""

_PATIENCE_SECONDS = 60.0
_LONGEST_SECONDS = 0.02
"""So long the runs that are through wait for the others; those that were not begun by then go by themselves."""

log = structlog.get_logger()

FlowOf = Callable[[RunKey, RunState], Awaitable[CompiledFlow]]


class _Through(msgspec.Struct, frozen=True):
    """A run that was carried through."""

    append: Append
    state: RunState
    carried: Carried


class Together:
    """Carries groups of runs. `flow_of` gives the flow that a run is of."""

    def __init__(self, event_log: EventLog, endings: Endings, flow_of: FlowOf, executor: str) -> None:
        self._log = event_log
        self._endings = endings
        self._flow_of = flow_of
        self._executor = executor

    async def carry(self, delivery: Delivery) -> list[RunKey]:
        """Bring the runs of a group to their ends; answers those that have to be carried by themselves."""
        group, _ = parse_run_subject(delivery.subject)
        parts = list(parts_of(delivery.subject, delivery.payload))
        if delivery.attempt > 1:
            log.info("group taken apart", group_id=group.run_id, attempt=delivery.attempt)
            await self._log.leave(group, [part.run.run_id for part in parts])
            return [part.run for part in parts]
        for _ in parts:
            RUN_WAIT_SECONDS.observe(max(0.0, time() - delivery.stored_ns / 1e9))
        through = await self._carry_through(parts)
        stored = await self._store(group, through, delivery.sequence) if through else {}
        await self._tell(group, [(through[run_id], end) for run_id, end in stored.items() if run_id in through])
        return [part.run for part in parts if part.run.run_id not in stored]

    async def _tell(self, group: RunKey, ended: Sequence[tuple[_Through, RunEnd]]) -> None:
        """Tell those who wait, count and log."""
        waiting: dict[str, list[RunEnd]] = defaultdict(list)
        for each, end in ended:
            each.state.end = end
            if each.append.reply is not None:
                waiting[each.append.reply].append(end)
        await self._endings.answer_together(group.run_id, waiting)
        self._endings.count([(each.state, each.append.trace) for each, _ in ended])

    async def _carry_through(self, parts: Sequence[Part]) -> dict[str, _Through]:
        through: dict[str, _Through] = {}
        size, until = 0, monotonic() + _LONGEST_SECONDS
        for part in parts:
            if monotonic() > until:
                break
            found = await self._try(part)
            if found is not None and size + len(found.carried.payload) <= MAX_BYTES:
                size += len(found.carried.payload)
                through[part.run.run_id] = found
        return through

    async def _try(self, part: Part) -> _Through | None:
        append = decode_append(part.payload)
        requested = append.events[0] if append.events else None
        if not isinstance(requested, RunRequested):
            return None
        state = begin(requested)
        try:
            flow = await self._flow_of(part.run, state)
        except Failure:
            return None  # what it is is said when the run is carried by itself
        carried = carry(flow, state, self._executor, append.trace, utc_now)
        return None if carried is None else _Through(append, state, carried)

    async def _store(self, group: RunKey, through: dict[str, _Through], after: int) -> dict[str, RunEnd]:
        """Store the ends of the runs that have not left the group meanwhile; answers those that are stored."""
        ends = {run_id: each.carried for run_id, each in through.items()}
        while ends:
            payload = encode_group({run_id: carried.payload for run_id, carried in ends.items()})
            try:
                await self._log.append_group(
                    group, Kind.ENDED, payload, after=after, patience_seconds=_PATIENCE_SECONDS
                )
                break
            except Conflict as conflict:
                if parse_run_subject(conflict.last.subject)[1] is Kind.ENDED:
                    return _ends_in(conflict.last)  # by this process, which was not told that they were stored
                left = left_of(group, conflict.last)
                ends = {run_id: carried for run_id, carried in ends.items() if run_id not in left}
                after = conflict.last.sequence
        return {run_id: carried.end for run_id, carried in ends.items()}


def _ends_in(message: Stored) -> dict[str, RunEnd]:
    ends = {part.run.run_id: last_event(part.payload) for part in parts_of(message.subject, message.payload)}
    return {run_id: end for run_id, end in ends.items() if isinstance(end, RunCompleted | RunFailed | RunCancelled)}
