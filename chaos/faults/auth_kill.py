"""`kill -9` of an auth process: keys are asked of the other one, or wait."""

from chaos.fault import Fault
from chaos.stage import Stage


async def strike(stage: Stage, nth: int) -> None:
    stage.strike()
    index = nth % 2
    await stage.back("auth", index, stage.stack.kill("auth", index))


FAULT = Fault(
    name="auth-kill", says="`kill -9` of an auth process", times=100, runs=1000, strike=strike, counts={"auths": 2}
)
