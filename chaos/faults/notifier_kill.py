"""`kill -9` of a notifier while streams are read from it: their readers go on elsewhere."""

from chaos.fault import Fault
from chaos.stage import Stage


async def strike(stage: Stage, nth: int) -> None:
    stage.strike()
    index = nth % 2
    await stage.back("notifier", index, stage.stack.kill("notifier", index))


FAULT = Fault(
    name="notifier-kill", says="`kill -9` of a notifier", times=100, runs=1000, strike=strike, counts={"notifiers": 2}
)
