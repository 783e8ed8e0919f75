"""`kill -9` of an executor in the middle of a node."""

import asyncio
import os
import signal

from chaos.fault import Fault
from chaos.stage import Stage, until

_GAP_SECONDS = 1.5
"""So that the stack is hurt again and again while it recovers, and yet somebody works."""


async def holder(stage: Stage) -> int:
    """The process that has a call under way, by the name that the run's log gives."""
    found: list[int] = []

    async def is_known() -> bool:
        alive = {each["pid"] for each in stage.stack.processes() if each["service"] == "executor"}
        for key in list(stage.recorder.under_way())[-5:]:
            run_id = key.partition(":")[0]
            reply = await stage.free.client.call("GET", f"/v1/runs/{run_id}/events", fine={404})
            events = [] if reply.status == 404 else reply.body["data"]
            names = [event["data"]["executor"] for event in events if event["type"] == "run.started"]
            pids = {int(name.rpartition("-")[2]) for name in names} & alive
            if pids and key in stage.recorder.under_way():
                found[:] = pids
                return True
        return False

    await until(is_known, "any executor in the middle of a node", 60)
    return found[0]


async def strike(stage: Stage, _: int) -> None:
    pid = await holder(stage)
    stage.strike()
    os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(_GAP_SECONDS)


FAULT = Fault(
    name="executor-kill",
    says="`kill -9` of an executor in the middle of a node",
    times=200,
    runs=5000,
    strike=strike,
)
