"""`kill -9` of the node that leads one of the event streams, in a cluster of three."""

from chaos.fault import Fault
from chaos.stage import Stage, until


async def strike(stage: Stage, nth: int) -> None:
    cluster = stage.cluster
    assert cluster is not None
    leading: list[int] = []

    async def is_led() -> bool:
        leader = cluster.leader(f"EVENTS_{nth % 4}")
        leading[:] = [] if leader is None else [leader]
        return bool(leading) and cluster.healthy()

    await until(is_led, "a healthy cluster", 60)
    stage.strike()
    cluster.nodes[leading[0]].kill()
    await stage.whole()
    cluster.start(leading[0])
    await until(lambda: _healthy(stage), "a healthy cluster", 60)


async def _healthy(stage: Stage) -> bool:
    return stage.cluster is not None and stage.cluster.healthy()


FAULT = Fault(
    name="leader-kill",
    says="`kill -9` of the leader in a NATS cluster of three",
    times=20,
    runs=500,
    strike=strike,
    cluster=True,
)
