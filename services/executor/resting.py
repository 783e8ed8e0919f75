"""Runs that wait are put down and taken up again: meanwhile nobody holds them, and no process has to live.

A run in which nothing is left to do but to wait (a `delay`, the pause before a node's next attempt) is put down:
its events are on the log, then a timer is stored for the moment at which it goes on or runs out of time, then the
message that asked for it is acknowledged. When the timer fires, any executor reads the run from the log and goes on.
So at every moment a run without an end has a message that is not acknowledged, or a timer; a crash between two of
these steps leaves both, and the second to come finds on the log that there is nothing to do yet, or loses by
compare-and-set. A timer set late, by an executor that was thought dead, does no harm: the moment it knows lies before
any that was decided later, so the run is only looked at too early, and put down again.

Waits of up to `SHORT_SECONDS` stay in the process. A timer takes three writes of the server and fires up to a
quarter of a second late, and the run is read again: for a second that is more than a held place costs.

A run that is worked on has its time limit in the process that does. That it holds when this process dies a timer
sees to as well, stored once the limit is nearer than the lease: earlier the lease is enough, for who takes the run over
then comes in time. It may fire while somebody works on the run, so all that it does is to end it.
"""

from datetime import datetime, timedelta

import msgspec
import structlog

from libs.events.broker import Broker, Unavailable
from libs.events.subjects import RunKey
from libs.events.timers import set_timer

KIND = "run"
"""The kind of timers that runs wait for."""

SHORT_SECONDS = 1.0

_GRACE = timedelta(seconds=0.25)
"""How long after the limit the timer leaves it to the process that works on the run."""

log = structlog.get_logger()


class PutDown(Exception):
    """Nothing is to be done for the run before `until`; what was said of it is on the log."""

    def __init__(self, until: datetime) -> None:
        super().__init__("the run waits")
        self.until = until


class Wake(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a timer says: which run is to go on or, with `over`, to be ended because its time is."""

    workspace: str
    run_id: str
    over: bool = False

    @property
    def run(self) -> RunKey:
        """The run."""
        return RunKey(self.workspace, self.run_id)


def is_short(now: datetime, until: datetime) -> bool:
    """Whether a wait is to be waited in the process."""
    return (until - now).total_seconds() <= SHORT_SECONDS


async def put_down(broker: Broker, run: RunKey, until: datetime) -> None:
    """Have the run taken up at `until`. Returns when that is sure; the message that asked for it may then go."""
    wake = Wake(workspace=run.workspace, run_id=run.run_id)
    await set_timer(broker, KIND, run.run_id, until, msgspec.json.encode(wake), patience_seconds=60.0)
    log.info("run put down", run_id=run.run_id, until=until.isoformat())


class Guard:
    """Sees to it that a run ends at its deadline though this process may die."""

    def __init__(self, broker: Broker, run: RunKey, lease_seconds: float) -> None:
        self._broker = broker
        self._run = run
        self._lead = timedelta(seconds=lease_seconds + 2.0)
        self._due: datetime | None = None
        self._set = False

    async def watch(self, now: datetime, deadline: datetime) -> datetime:
        """Set the timer when it is time to; when to look again. A run that needs no second has none."""
        if self._set:
            return deadline
        if self._due is None:
            self._due = max(deadline - self._lead, now + timedelta(seconds=SHORT_SECONDS))
        if now >= self._due:
            self._set = await self._set_timer(deadline)
            self._due = now + timedelta(seconds=SHORT_SECONDS)
        return self._due

    async def _set_timer(self, deadline: datetime) -> bool:
        wake = Wake(workspace=self._run.workspace, run_id=self._run.run_id, over=True)
        timer_id, payload = f"{self._run.run_id}-over", msgspec.json.encode(wake)
        try:
            await set_timer(self._broker, KIND, timer_id, deadline + _GRACE, payload, patience_seconds=1.0)
        except Unavailable:
            return False
        return True


def read_wake(payload: bytes) -> Wake:
    """What a timer said that fired."""
    return msgspec.json.decode(payload, type=Wake)
