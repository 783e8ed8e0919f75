"""What goes wrong in a seed, and when; and that everything is well again afterwards."""

import asyncio
import random
from collections.abc import Callable

from tests.simulation.network import CALM, Network, Weather
from tests.simulation.server import Server
from tests.simulation.services import Service

TROUBLE_SECONDS = 30.0
"""So long things go wrong."""


_APPENDS = (("evt.", "adm.", "ses.", "mgt."), ("evt.",), ("adm.",))


def weather(chance: random.Random) -> Weather:
    """The sort of network that a seed has."""
    if chance.random() < 0.35:
        return CALM
    return Weather(
        lost=chance.choice([0.0, 0.005, 0.03]),
        late=chance.choice([0.0, 0.01, 0.05]),
        late_seconds=chance.choice([0.1, 1.0, 4.0]),
        refused=chance.choice([0.0, 0.02, 0.08]),
        usual_seconds=chance.choice([0.0005, 0.002, 0.02]),
    )


class Trouble:
    """Hurts the services and the log's server, `TROUBLE_SECONDS` long.

    `start(kind, slot)` puts a service in the place of one that died.
    """

    def __init__(
        self,
        chance: random.Random,
        server: Server,
        network: Network,
        services: dict[str, Service],
        start: Callable[[str, str], None],
    ) -> None:
        self._chance = chance
        self._server = server
        self._network = network
        self._services = services
        self._start = start
        self.happened: list[str] = []

    async def run(self) -> None:
        """Everything that happens, one after the other and overlapping; returns when all is well again."""
        moments = sorted(self._chance.uniform(0.5, TROUBLE_SECONDS) for _ in range(self._chance.randint(1, 8)))
        kinds = [self._die, self._die, self._die, self._freeze, self._freeze, self._break, self._stop, self._kill]
        kinds.append(self._lose_the_leader)
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            for moment in moments:
                await asyncio.sleep(moment - loop.time())
                group.create_task(self._chance.choice(kinds)())
        await asyncio.sleep(max(0.0, TROUBLE_SECONDS - loop.time()))
        self._network.weather = CALM

    def _victim(self) -> Service:
        return self._services[self._chance.choice(sorted(self._services))]

    async def _critical_moment(self, victim: Service) -> None:
        """Often when an append is under way, at whichever step of it; else any time."""
        if self._chance.random() < 0.3:
            return
        sent = asyncio.Event()
        victim.wire.watched = self._chance.choice(_APPENDS)
        for _ in range(self._chance.choice([1, 1, 2, 3])):
            sent.clear()
            victim.wire.on_append = sent.set
            try:
                async with asyncio.timeout(4.0):
                    await sent.wait()
            except TimeoutError:
                return
        await asyncio.sleep(self._chance.choice([0.0, 1.0, 2.0]) * self._network.seconds())

    async def _die(self) -> None:
        """`kill -9`, at whichever await it is."""
        victim = self._victim()
        if not victim.process.runs:
            return
        await self._critical_moment(victim)
        victim.process.die()
        self.happened.append(f"{victim.process.name} died")
        await asyncio.sleep(self._chance.uniform(0.1, 6.0))
        self._start(victim.kind, victim.slot)

    async def _freeze(self) -> None:
        """SIGSTOP and SIGCONT, in between perhaps longer than a lease."""
        victim = self._victim()
        if not victim.process.runs:
            return
        await self._critical_moment(victim)
        self.happened.append(f"{victim.process.name} froze")
        victim.process.freeze()
        await asyncio.sleep(self._chance.choice([0.5, 3.0, 12.0, 18.0]))
        victim.process.thaw()

    async def _break(self) -> None:
        """A connection to the log breaks."""
        victim = self._victim()
        await self._critical_moment(victim)
        self.happened.append(f"{victim.process.name} lost its connection")
        seconds = self._chance.choice([0.1, 1.0, 5.0, 14.0])
        victim.wire.lose(seconds)
        await asyncio.sleep(seconds)

    async def _stop(self) -> None:
        """SIGTERM, and another one in its place."""
        victim = self._victim()
        if not victim.process.runs or victim.task is None:
            return
        self.happened.append(f"{victim.process.name} was stopped")
        victim.stop()
        await asyncio.wait([victim.task], timeout=10.0)
        victim.process.die()
        self._start(victim.kind, victim.slot)

    async def _kill(self) -> None:
        """The log's server dies and comes back."""
        if not self._server.up:
            return
        self.happened.append("the log died")
        self._server.kill()
        for service in self._services.values():
            service.wire.lose(self._chance.uniform(0.2, 0.6))
        await asyncio.sleep(self._chance.uniform(0.2, 4.0))
        self._server.start()

    async def _lose_the_leader(self) -> None:
        """Nobody leads the streams for a while."""
        self.happened.append("the log had no leader")
        seconds = self._chance.choice([0.3, 1.5, 5.0])
        self._server.leaderless_until = self._server.loop.time() + seconds
        await asyncio.sleep(seconds)
