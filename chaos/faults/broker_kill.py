"""`kill -9` of nats-server: the log is away until it has been started again."""

import asyncio

from chaos.fault import Fault
from chaos.stage import Stage

_GAP_SECONDS = 1.0


async def strike(stage: Stage, _: int) -> None:
    stage.strike()
    await stage.back("nats", 0, stage.stack.kill("nats"))
    await stage.whole()
    await asyncio.sleep(_GAP_SECONDS)


FAULT = Fault(name="broker-kill", says="`kill -9` of nats-server", times=50, runs=1000, strike=strike)
