"""`kill -9` of everything at once, and a second start on the same data."""

import asyncio

from chaos.fault import Fault
from chaos.stage import Stage

_GAP_SECONDS = 3.0


async def strike(stage: Stage, _: int) -> None:
    stage.strike()
    await asyncio.to_thread(stage.stack.crash)
    await stage.start()
    await stage.whole()
    await asyncio.sleep(_GAP_SECONDS)


FAULT = Fault(name="everything", says="everything killed at once, and started again", times=20, runs=500, strike=strike)
