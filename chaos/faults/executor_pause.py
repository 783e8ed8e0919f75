"""SIGSTOP of an executor for longer than its lease, then SIGCONT: what the sleeper has to say comes too late."""

import os
import signal

from chaos.fault import Fault
from chaos.faults.executor_kill import holder
from chaos.stage import Stage, until

_LEASE_SECONDS = 3


async def strike(stage: Stage, _: int) -> None:
    pid = await holder(stage)
    held = set(stage.recorder.under_way())
    stage.strike()
    os.kill(pid, signal.SIGSTOP)
    try:

        async def taken_over() -> bool:
            return any(stage.recorder.calls[key] > 1 for key in held)

        await until(taken_over, "a run of the sleeper taken over", 5 * _LEASE_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)


FAULT = Fault(
    name="executor-pause",
    says=f"SIGSTOP of an executor for longer than its lease ({_LEASE_SECONDS} s), then SIGCONT",
    times=50,
    runs=1000,
    strike=strike,
    env={"HEADGATE_LEASE_SECONDS": str(_LEASE_SECONDS)},
)
