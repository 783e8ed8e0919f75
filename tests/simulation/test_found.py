"""What the simulation found, each mistake by itself: so that it stays found whatever the seeds do."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from libs.edge.problems import Problem
from libs.events.broker import Unavailable
from libs.events.log import EventLog
from libs.events.managed import Limits
from libs.events.run_events import Append, RequestedData, RunRequested
from libs.events.subjects import Kind, RunKey
from services.gateway.admission.gate import Gate
from services.gateway.state import Gateway
from tests.events.runs import AT, requested, said
from tests.simulation.jetstream import WRONG_LAST_SEQUENCE_UNDER_REPLICATION, Message, Stream
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import CALM
from tests.simulation.server import Connection
from tests.simulation.services import Service
from tests.simulation.world import NARROW, OPEN, SMALL, World, live

ONE = {"": Limits(concurrent_runs=1)}


def in_a_calm_world(story: Callable[[World], Coroutine[Any, Any, Any]]) -> Any:
    """What a story answers that is told where nothing goes wrong by itself."""

    def make(loop: VirtualLoop) -> World:
        chance = random.Random(1)
        return World(loop, lambda: random.Random(chance.getrandbits(64)), 1, CALM)

    lived = live(make, story)
    assert lived.defects == []
    return lived.answer


async def started(world: World, kind: str, slot: str) -> Service:
    """One service, ready."""
    world.start(kind, slot)
    service = world.services[slot]
    await until(lambda: kind != "gateway" or service.gateway is not None)
    return service


def parts(service: Service) -> Gateway:
    assert service.gateway is not None
    return service.gateway


async def until(holds: Callable[[], bool]) -> None:
    """Wait, in made-up time."""
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


def held(deployment_id: str, run: RunKey) -> Append:
    """A run of a batch, as a gateway appends it."""
    flow_id = deployment_id.replace("dep_", "flow_")
    data = RequestedData(flow_id=flow_id, deployment_id=deployment_id, version=1, input={"n": 1}, mode="async")
    return Append(by="key_1", events=[RunRequested(seq=1, run_id=run.run_id, at=AT, data=data)])


class Kinds:
    """Which appends each run has, as they are stored."""

    def __init__(self, world: World) -> None:
        self.of: dict[str, list[str]] = {}
        world.server.on_stored.append(self._on_stored)

    def _on_stored(self, stream: Stream, message: Message) -> None:
        if stream.name.startswith("EVENTS_"):
            _, _, _, run_id, kind = message.subject.split(".")
            self.of.setdefault(run_id, []).append(kind)

    def open(self) -> int:
        """Runs that were asked for and have no end."""
        return sum("requested" in kinds and "ended" not in kinds for kinds in self.of.values())


def test_a_read_with_a_gap_is_no_answer() -> None:
    async def story(world: World) -> str:
        log = EventLog((await started(world, "gateway", "gateway-0")).broker, 1)
        run = RunKey(OPEN, "run_1")
        last = await log.append(run, Kind.REQUESTED, requested(run), after=0)
        for seq in range(2, 5):
            last = await log.append(run, Kind.PROGRESS, said(run, seq), after=last)
        bring, count = world.network.bring, 0

        def losing_one(connection: Connection, call: Any, message: Any) -> None:
            nonlocal count
            count += "Nats-Num-Pending" in (message.headers or {})
            if count != 2:
                bring(connection, call, message)

        world.network.bring = losing_one  # type: ignore[method-assign]  # the network's own doing
        try:
            await log.scan(run, 1)
        except Unavailable as error:
            return str(error)
        return "nothing was noticed"

    assert "lost on the way" in in_a_calm_world(story)


def test_a_held_run_whose_request_is_refused_without_a_rival_is_asked_for_again() -> None:
    async def story(world: World) -> list[str]:
        kinds = Kinds(world)
        service = await started(world, "gateway", "gateway-0")
        await started(world, "executor", "executor-0")
        run = RunKey(SMALL, "run_1")
        stream = world.server.streams["EVENTS_0"]
        sound, refused = stream.refusal, 0

        def refusing_once(subject: str, headers: Any) -> Any:
            nonlocal refused
            if subject.endswith(".requested") and not refused:
                refused += 1
                return {"code": 400, "err_code": WRONG_LAST_SEQUENCE_UNDER_REPLICATION, "description": "no reason"}
            return sound(subject, headers)

        stream.refusal = refusing_once  # type: ignore[method-assign]  # as a replicated stream does
        await parts(service).log.append(run, Kind.HELD, held("dep_pure", run), after=0)
        await until(lambda: "ended" in kinds.of["run_1"])
        assert refused == 1
        return kinds.of["run_1"]

    assert in_a_calm_world(story) == ["held", "requested", "ended"]


def test_a_held_run_gets_the_slot_that_a_gateway_took_for_it_and_died() -> None:
    async def story(world: World) -> list[str]:
        kinds = Kinds(world)
        dying = await started(world, "gateway", "gateway-0")
        await started(world, "executor", "executor-0")
        run = RunKey(SMALL, "run_1")
        await parts(dying).gate.admit(
            run, {"": Limits(concurrent_runs=2), NARROW: Limits(concurrent_runs=1)}, charged=True
        )
        dying.process.die()
        service = await started(world, "gateway", "gateway-1")
        await parts(service).log.append(run, Kind.HELD, held(NARROW, run), after=0)
        await until(lambda: "ended" in kinds.of["run_1"])
        return kinds.of["run_1"]

    assert "requested" in in_a_calm_world(story)


def test_a_gateway_that_does_not_know_a_deployment_yet_holds_its_runs_to_the_limits() -> None:
    async def story(world: World) -> int:
        kinds, most = Kinds(world), 0
        service = await started(world, "gateway", "gateway-0")
        await started(world, "executor", "executor-0")
        directory = parts(service).directory
        shelf = directory._shelves[SMALL]
        shelf.deployments.pop(NARROW)
        shelf.limits = Limits()
        runs = [RunKey(SMALL, f"run_{number}") for number in range(4)]
        for run in runs:
            await parts(service).log.append(run, Kind.HELD, held(NARROW, run), after=0)
        while not all("ended" in kinds.of[run.run_id] for run in runs):
            most = max(most, kinds.open())
            await asyncio.sleep(0.01)
        return most

    assert in_a_calm_world(story) == 1


def test_a_gateway_that_stood_still_after_it_was_admitted_asks_again() -> None:
    async def story(world: World) -> str:
        frozen = await started(world, "gateway", "gateway-0")
        other = await started(world, "gateway", "gateway-1")
        first, second = RunKey(SMALL, "run_1"), RunKey(SMALL, "run_2")
        asking = frozen.process.start(outcome(parts(frozen).gate, first))
        world.server.on_stored.append(lambda stream, _: frozen.process.freeze() if stream.name == "LEDGERS" else None)
        await until(lambda: frozen.process.frozen)
        world.server.on_stored.pop()
        await asyncio.sleep(20.0)
        await parts(other).gate.admit(second, ONE)  # the slot of the first counts as forgotten by now
        await parts(other).log.append(second, Kind.REQUESTED, requested(second), after=0)
        frozen.process.thaw()
        return await asking

    assert in_a_calm_world(story) == "concurrency_limit"


async def outcome(gate: Gate, run: RunKey) -> str:
    """How an admission ends."""
    try:
        await gate.admit(run, ONE)
    except Problem as problem:
        return problem.code
    return "admitted"


def test_a_change_that_was_lost_on_the_way_is_missed_without_another_one() -> None:
    async def story(world: World) -> str:
        changing = await started(world, "gateway", "gateway-0")
        service = await started(world, "gateway", "gateway-1")
        bring = world.network.bring

        def losing(connection: Connection, call: Any, message: Any) -> None:
            if connection.process is not service.process or not message.reply.startswith("$JS.ACK.MANAGEMENT"):
                bring(connection, call, message)

        world.network.bring = losing  # type: ignore[method-assign]  # the network's own doing
        directory = parts(changing).directory
        deployment = directory.deployment(OPEN, "dep_pure")
        assert deployment is not None
        await directory.change("deployment.updated", deployment, "key_1", "192.0.2.1", lambda _: {"name": "new"})
        await asyncio.sleep(0.5)
        world.network.bring = bring  # type: ignore[method-assign]
        await asyncio.sleep(5.0)
        known = parts(service).directory.deployment(OPEN, "dep_pure")
        return known.name if known is not None else ""

    assert in_a_calm_world(story) == "new"
