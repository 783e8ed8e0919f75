"""A node of a cluster of three is cut off from the other two, while its clients still reach it."""

import asyncio

from chaos.fault import Fault
from chaos.stage import Stage, until

_CUT_SECONDS = 8.0


async def strike(stage: Stage, nth: int) -> None:
    cluster = stage.cluster
    assert cluster is not None
    stage.strike()
    await cluster.cut_off(nth % 3)
    await asyncio.sleep(_CUT_SECONDS)
    await cluster.join(nth % 3)

    async def is_healthy() -> bool:
        return cluster.healthy()

    await until(is_healthy, "a healthy cluster", 60)
    await stage.whole()


FAULT = Fault(
    name="partition",
    says="one node of a NATS cluster of three cut off for 8 s",
    times=10,
    runs=500,
    strike=strike,
    cluster=True,
)
