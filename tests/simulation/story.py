"""One seed: the system is asked and hurt; then it is well again; then everything is checked."""

import asyncio
import random
import traceback
from collections.abc import Callable

import msgspec

from libs.events.managed import Mode
from tests.simulation import checks
from tests.simulation.callers import Callers
from tests.simulation.faults import TROUBLE_SECONDS, Trouble, weather
from tests.simulation.flows import DOCUMENTS, FRAIL
from tests.simulation.loop import VirtualLoop
from tests.simulation.world import LIMITS, OPEN, SMALL, World, live

END_SECONDS = 30.0
"""A run has its end so long after all is well, what it works at not counted."""

_WORK_SECONDS = 30.0
_SETTLING_SECONDS = 10.0
"""So long after the last end, at most, everybody has heard of everything."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a seed. Two runs of one seed have the same `digest`."""

    seed: int
    faults: list[str]
    happened: list[str] = []
    digest: str = ""
    runs: int = 0
    recovery_seconds: float = 0.0
    """From when all was well again to the last end."""


class Story(World):
    """The world of one seed."""

    def __init__(self, seed: int, loop: VirtualLoop) -> None:
        root = random.Random(seed)

        def another() -> random.Random:
            return random.Random(root.getrandbits(64))

        self.seed = seed
        self.chance = another()
        super().__init__(loop, another, self.chance.choice([1, 1, 2]), weather(self.chance))
        self.watch = checks.Watch(self.server)
        self.callers = Callers(loop, another(), self.gateways, LIMITS)
        self.trouble = Trouble(another(), self.server, self.network, self.services, self.start)

    async def run(self) -> Verdict:
        """From the start to the last end, and what is to be said of it."""
        self.start_all()
        calling = asyncio.create_task(self._calls())
        await self.trouble.run()
        self.outside.calm = True
        well = self.loop.time()
        await self._until(lambda: calling.done() and self.watch.all_ended(), END_SECONDS + _WORK_SECONDS)
        if calling.done():
            calling.result()
        await self._until(lambda: not checks.of_directories(self), _SETTLING_SECONDS)
        # A gateway that stood still may have taken a run meanwhile, for a caller who has long gone.
        await self._until(self.watch.all_ended, END_SECONDS + _WORK_SECONDS)
        return Verdict(
            seed=self.seed,
            faults=checks.faults(self),
            happened=self.trouble.happened,
            runs=len(self.watch.runs),
            recovery_seconds=max(0.0, self.watch.last_end - well),
        )

    async def _until(self, holds: Callable[[], bool], seconds: float) -> None:
        """Wait until something is so, but not for ever: the checks say what is not."""
        until = self.loop.time() + seconds
        while not holds():
            if self.loop.time() > until:
                return
            await asyncio.sleep(0.25)

    async def _calls(self) -> None:
        """Everybody who calls, some of them at the same moment with the same key."""
        chance = self.chance
        async with asyncio.TaskGroup() as group:
            for number in range(chance.randint(4, 9)):
                group.create_task(self._call(chance.uniform(0.1, TROUBLE_SECONDS - 4.0), number, group))
            for number in range(chance.choice([0, 0, 2, 4])):
                group.create_task(self.callers.rename(OPEN, "dep_pure", f"name {number}", chance.uniform(1.0, 28.0)))
            if chance.random() < 0.5:
                flow, workspace = chance.choice(["pure", "row"]), chance.choice([OPEN, SMALL, SMALL, SMALL])
                group.create_task(self.callers.ask_batch(workspace, f"dep_{flow}", chance.randint(2, 5), "batch-key"))
            for _ in range(chance.choice([0, 1, 1, 2])):
                group.create_task(self._crowd(chance.uniform(0.1, TROUBLE_SECONDS - 4.0), chance.randint(2, 20), group))

    async def _crowd(self, seconds: float, calls: int, group: asyncio.TaskGroup) -> None:
        """Many at the same moment without a key, of flows whose runs are asked for together."""
        chance = self.chance
        await asyncio.sleep(seconds)
        for _ in range(calls):
            flow, mode = chance.choice(["pure", "pure", FRAIL]), chance.choice(("sync", "async"))
            group.create_task(self.callers.ask(OPEN, f"dep_{flow}", chance.choice([1, 1, 2]), mode, None, None))

    async def _call(self, seconds: float, number: int, group: asyncio.TaskGroup) -> None:
        chance = self.chance
        await asyncio.sleep(seconds)
        workspace = chance.choice([OPEN, OPEN, SMALL])
        flow = chance.choice(sorted(DOCUMENTS.keys() - {FRAIL}))
        mode: Mode = chance.choice(("sync", "async", "async"))
        key = f"key-{number}" if chance.random() < 0.7 else None
        n, session = chance.choice([1, 2]), chance.choice([None, None, "s1"])
        calls = 2 if key and chance.random() < 0.3 else 1
        for twin in range(calls):
            other = n + 10 if twin and chance.random() < 0.3 else n
            group.create_task(self.callers.ask(workspace, f"dep_{flow}", other, mode, key, session))


def simulate(seed: int) -> Verdict:
    """Live through one seed."""
    try:
        lived = live(lambda loop: Story(seed, loop), Story.run)
    except Exception as error:  # noqa: BLE001  # whatever it is belongs to the seed
        return Verdict(seed=seed, faults=["the simulation broke: " + "".join(traceback.format_exception(error))])
    verdict: Verdict = lived.answer
    return msgspec.structs.replace(verdict, faults=verdict.faults + lived.defects, digest=lived.digest)
