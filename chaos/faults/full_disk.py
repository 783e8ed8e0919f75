"""A disk that is full: nats-server's files may not grow any more (RLIMIT_FSIZE), until there is room again."""

import asyncio
import resource
from pathlib import Path

from chaos.fault import Fault
from chaos.stage import Stage

_FULL_SECONDS = 5.0


async def strike(stage: Stage, _: int) -> None:
    stage.strike()
    loop = asyncio.get_running_loop()
    until = loop.time() + _FULL_SECONDS
    while loop.time() < until:
        # Whoever is started meanwhile finds the disk as full.
        _limit(stage, 1)
        await asyncio.sleep(0.05)
    _limit(stage, resource.RLIM_INFINITY)
    await stage.whole()


def _limit(stage: Stage, size: int) -> None:
    for each in stage.stack.processes():
        if each["service"] == "nats" and Path(f"/proc/{each['pid']}").exists():
            resource.prlimit(each["pid"], resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


FAULT = Fault(
    name="full-disk",
    says=f"a disk that is full for {_FULL_SECONDS:g} s (no file of nats-server may grow)",
    times=5,
    runs=300,
    strike=strike,
)
