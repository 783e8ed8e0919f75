"""`kill -9` of a gateway after it has appended a run and before it has answered."""

import asyncio
import signal

from chaos.fault import Fault
from chaos.stage import Stage, until

_GAP_SECONDS = 0.3


async def strike(stage: Stage, _: int) -> None:
    found: list[int] = []

    async def owes_an_answer() -> bool:
        """A call is open at a gateway, and its run is already calling out: so it is on the log."""
        for text in stage.recorder.under_way().values():
            for key, gateway in stage.free.client.open.items():
                if text.startswith(key):
                    found[:] = [gateway]
                    return True
        return False

    await until(owes_an_answer, "a call whose run is under way", 60)
    stage.strike()
    pid = stage.stack.kill("gateway", found[0], signal.SIGKILL)
    await stage.back("gateway", found[0], pid)
    await asyncio.sleep(_GAP_SECONDS)


FAULT = Fault(
    name="gateway-kill",
    says="`kill -9` of a gateway between append and answer",
    times=200,
    runs=2000,
    strike=strike,
)
