"""The gate: runs of a limited workspace are admitted by its ledger, which lies on the log, one message a decision.

Compare-and-set on the ledger's subject makes the limits exact over all gateways: a gateway whose ledger is old is
refused and looks again. What arrives while a decision is being stored is decided together in the next one, so a busy
workspace costs one append for many runs. A slot belongs to a run id and is free when the log has that run's end; a
gateway that dies between admission and acceptance leaves a slot whose run never begins, which is found and given back.
So no slot leaks, and nothing has to be told when a run ends. Unlimited workspaces do not come here.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
import structlog
from prometheus_client import Counter

from libs.edge.problems import Code, Problem
from libs.events.appends import Conflict, append_message
from libs.events.broker import Broker, Unavailable
from libs.events.log import EventLog
from libs.events.managed import Limits
from libs.events.reads import last_message
from libs.events.subjects import LEDGERS, RunKey, ledger_subject
from libs.runtime.ids import new_id
from services.gateway.admission.ledger import (
    WORKSPACE,
    Ledger,
    Refusal,
    Want,
    admit,
    charge,
    describe,
    refund,
    running,
    settle,
)

_PATIENCE_SECONDS = 4.0
_UNBORN_SECONDS = 15.0
"""After so long without its event, a run that was admitted will never be accepted: its gateway has given up or died."""

_TRIES = 100
_CHECKED_AT_ONCE = 64

_MESSAGES: dict[str, str] = {
    "concurrency_limit": "As many runs as the plan allows are under way; come back when one has ended.",
    "rate_limit": "Too many requests in this second.",
    "quota_exceeded": "The month's requests are used up.",
}

_refused = Counter("headgate_admissions_refused_total", "Runs that were refused by a limit.", ["limit"])

log = structlog.get_logger()


class _Queued(msgspec.Struct, frozen=True):
    want: Want
    verdict: asyncio.Future[Refusal | None]


class _Desk:
    """One workspace at this gateway: what is known of its ledger, and who waits for a decision."""

    def __init__(self) -> None:
        self.sequence = 0
        self.ledger = Ledger()
        self.queue: list[_Queued] = []
        self.working: asyncio.Task[None] | None = None


class Gate:
    """Admits runs."""

    def __init__(self, broker: Broker, event_log: EventLog) -> None:
        self._broker = broker
        self._log = event_log
        self._desks: dict[str, _Desk] = {}

    async def admit(self, run: RunKey, limits: Mapping[str, Limits], *, charged: bool = False) -> None:
        """Take a slot for a run. Problem 429 with `Retry-After`; Unavailable when the ledger cannot be written.

        `charged`: a batch has paid for it, so that only the slot is to be had. When it returns the slot is fresh: a
        process that stood still meanwhile (SIGSTOP, a sleeping laptop) asks again, for its slot may be another run's.
        """
        loop = asyncio.get_running_loop()
        desk = self._desks.setdefault(run.workspace, _Desk())
        for _ in range(_TRIES):
            asked_at = loop.time()
            await self._admit(desk, run, limits, charged=charged)
            if loop.time() - asked_at < _UNBORN_SECONDS / 2:
                return
        raise Unavailable("this process stands still again and again")

    async def _admit(self, desk: _Desk, run: RunKey, limits: Mapping[str, Limits], *, charged: bool) -> None:
        verdict: asyncio.Future[Refusal | None] = asyncio.get_running_loop().create_future()
        desk.queue.append(_Queued(Want(run_id=run.run_id, limits=limits, charged=charged), verdict))
        if desk.working is None:
            desk.working = asyncio.create_task(self._work(run.workspace, desk))
        refusal = await verdict
        if refusal is not None:
            raise self._problem(desk, limits, refusal)

    async def charge(self, workspace: str, count: int, limits: Mapping[str, Limits]) -> None:
        """Charge the month's quota for a batch, whole or not at all. Problem 429 where it cannot hold it.

        A negative `count` gives back what was charged for a batch that then was not accepted.
        """
        desk = self._desks.setdefault(workspace, _Desk())
        for _ in range(_TRIES):
            await self._read(workspace, desk)
            charged = charge(desk.ledger, count, limits, datetime.now(UTC))
            if isinstance(charged, Refusal):
                raise self._problem(desk, limits, charged)
            try:
                await self._store(workspace, desk, charged)
            except Conflict:
                continue
            return
        raise Unavailable("the workspace's ledger is too busy")

    async def give_back(self, run: RunKey, limits: Mapping[str, Limits], *, runs_all_the_same: bool) -> None:
        """A run was admitted and then not accepted: only accepted runs count. What fails here is found later.

        `runs_all_the_same`: another call with the same `Idempotency-Key` made it, so it keeps its slot.
        """
        desk = self._desks.setdefault(run.workspace, _Desk())
        for _ in range(_TRIES):
            try:
                refunded = refund(desk.ledger, run.run_id, limits, runs_all_the_same=runs_all_the_same)
                if refunded == desk.ledger:
                    return
                await self._store(run.workspace, desk, refunded)
            except Conflict:
                await self._read(run.workspace, desk)
            except Unavailable:
                return
            else:
                return

    async def headers(self, workspace: str, limits: Mapping[str, Limits]) -> dict[str, str]:
        """`RateLimit` and `RateLimit-Policy` of a workspace's answers, as this gateway knows it."""
        desk = self._desks.get(workspace)
        if desk is None:
            desk = _Desk()
            try:
                await self._read(workspace, desk)
            except Unavailable:
                return {}  # the answer itself stands without them
            desk = self._desks.setdefault(workspace, desk)
        return describe(desk.ledger, limits, datetime.now(UTC))

    async def _work(self, workspace: str, desk: _Desk) -> None:
        try:
            while desk.queue:
                queued, desk.queue = desk.queue, []
                try:
                    await self._decide(workspace, desk, queued)
                except Exception as error:  # noqa: BLE001  # it is theirs who wait
                    for each in queued:
                        if not each.verdict.done():
                            each.verdict.set_exception(error)
        finally:
            desk.working = None

    async def _decide(self, workspace: str, desk: _Desk, queued: list[_Queued]) -> None:
        fresh = False
        for _ in range(_TRIES):
            now = datetime.now(UTC)
            ledger, verdicts = admit(desk.ledger, [each.want for each in queued], now)
            if not fresh and any(verdict is not None for verdict in verdicts):
                # A refusal must be true of the ledger as it is now, and of the runs as they are now.
                await self._refresh(workspace, desk)
                fresh = True
                continue
            try:
                if ledger is not desk.ledger:
                    await self._store(workspace, desk, ledger)
            except Conflict:
                await self._read(workspace, desk)
                fresh = False
                continue
            for each, verdict in zip(queued, verdicts, strict=True):
                if not each.verdict.done():  # who waited may have been cut off; the slot is found to be unborn
                    each.verdict.set_result(verdict)
            return
        raise Unavailable("the workspace's ledger is too busy")

    async def _refresh(self, workspace: str, desk: _Desk) -> None:
        """Read the ledger, and take out of it the runs that hold a slot and no longer run."""
        await self._read(workspace, desk)
        held = list(running(desk.ledger).items())
        ended: list[str] = []
        unborn: list[str] = []
        now = datetime.now(UTC).timestamp()
        for start in range(0, len(held), _CHECKED_AT_ONCE):
            part = held[start : start + _CHECKED_AT_ONCE]
            ends = await asyncio.gather(*[self._log.end(RunKey(workspace, run_id)) for run_id, _ in part])
            ended += [run_id for (run_id, _), end in zip(part, ends, strict=True) if end is not None]
            old = [
                r for (r, since), end in zip(part, ends, strict=True) if end is None and now - since > _UNBORN_SECONDS
            ]
            firsts = await asyncio.gather(*[self._log.first(RunKey(workspace, run_id)) for run_id in old])
            unborn += [run_id for run_id, first in zip(old, firsts, strict=True) if first is None]
        if ended or unborn:
            desk.ledger = settle(desk.ledger, ended, unborn)

    async def _read(self, workspace: str, desk: _Desk) -> None:
        message = await last_message(self._broker, LEDGERS, ledger_subject(workspace))
        if message is None:
            desk.sequence, desk.ledger = 0, Ledger()
        else:
            desk.sequence, desk.ledger = message.sequence, msgspec.json.decode(message.payload, type=Ledger)

    async def _store(self, workspace: str, desk: _Desk, ledger: Ledger) -> None:
        ledger = msgspec.structs.replace(ledger, stamp=new_id("adm"))
        desk.sequence = await append_message(
            self._broker,
            LEDGERS,
            ledger_subject(workspace),
            msgspec.json.encode(ledger),
            after=desk.sequence,
            patience_seconds=_PATIENCE_SECONDS,
        )
        desk.ledger = ledger

    def _problem(self, desk: _Desk, limits: Mapping[str, Limits], refusal: Refusal) -> Problem:
        _refused.labels(refusal.code).inc()
        code: Code = refusal.code
        where = "" if refusal.account == WORKSPACE else " (a limit of this deployment)"
        headers = {"Retry-After": str(refusal.retry_after), **describe(desk.ledger, limits, datetime.now(UTC))}
        return Problem(code, _MESSAGES[refusal.code] + where, headers=headers)
