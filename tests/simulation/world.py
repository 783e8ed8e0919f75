"""The system as it is put together for a seed: two gateways, two executors, the log, what is deployed, and a clock."""

import asyncio
import gc
import hashlib
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest.mock import patch

import msgspec
import structlog
import time_machine

from libs.events.managed import Change, Deployment, FlowHead, FlowVersion, Limits, State, Workspace, subject_of
from libs.events.subjects import MANAGEMENT
from libs.events.topology import all_streams
from libs.runtime import ids
from services.executor import together
from tests.simulation.flows import DOCUMENTS
from tests.simulation.jetstream import Stream
from tests.simulation.loop import EPOCH, Labour, VirtualLoop
from tests.simulation.network import Network, Weather
from tests.simulation.outside import Outside
from tests.simulation.server import Server
from tests.simulation.services import Service, run_executor, run_gateway

OPEN, SMALL = "ws_open", "ws_small"
NARROW = "dep_row"
"""A deployment that has limits of its own in the small workspace."""

LIMITS = {OPEN: Limits(), SMALL: Limits(concurrent_runs=2, monthly_requests=1000)}
NARROW_LIMITS = Limits(concurrent_runs=1)

_CLEARING_SECONDS = 120.0

Chances = Callable[[], random.Random]
Made = TypeVar("Made", bound="World")
T = TypeVar("T")


class World:
    """The parts. `another()` makes an independent source of chance for each."""

    def __init__(self, loop: VirtualLoop, another: Chances, shards: int, weather: Weather) -> None:
        self.loop = loop
        self.shards = shards
        self.network = Network(loop, another(), weather)
        self.server = Server(loop, self.network, another())
        self.outside = Outside(loop, another())
        self.ids = another()
        self.labour = Labour(loop, random.Random(self.ids.getrandbits(64)))
        self.services: dict[str, Service] = {}
        """Those that live now, by the place that they have."""
        self.everybody: list[Service] = []
        self._make_streams()

    def gateways(self) -> list[Service]:
        """Where callers may knock."""
        return [service for _, service in sorted(self.services.items()) if service.kind == "gateway"]

    def start(self, kind: str, slot: str) -> None:
        """Start a service, in the place of one that died or anew."""
        service = Service(self.loop, self.server, kind, slot, len(self.everybody))
        self.everybody.append(service)
        self.services[slot] = service
        if kind == "gateway":
            service.task = service.process.start(run_gateway(service, self.shards))
        else:
            service.task = service.process.start(run_executor(service, self.shards, self.outside))

    def start_all(self) -> None:
        """Two of each."""
        for index in range(2):
            self.start("gateway", f"gateway-{index}")
            self.start("executor", f"executor-{index}")

    def clear_away(self) -> None:
        """End every task, so that none is left half done; what they do has no effect any more."""
        for service in self.everybody:
            service.process.die()
            service.process.bury()
        while tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=_CLEARING_SECONDS))

    def digest(self) -> str:
        """Everything that was stored and everybody who was called."""
        seen = hashlib.sha256()
        for _, stream in sorted(self.server.streams.items()):
            for message in stream.messages.values():
                seen.update(f"{message.sequence} {message.subject} {message.at:.9f}".encode() + message.data)
        for visit in self.outside.visits:
            seen.update(f"{visit.key} {visit.process} {visit.at:.9f}".encode())
        return seen.hexdigest()

    def _make_streams(self) -> None:
        for config in all_streams(self.shards, replicas=1):
            self.server.streams[config["name"]] = Stream(config)
        for workspace, limits in LIMITS.items():
            self._record(workspace, Workspace(id=workspace, name="x", plan="pro", limits=limits, created_at=EPOCH))
            for name, document in DOCUMENTS.items():
                self._deploy(workspace, name, document)

    def _deploy(self, workspace: str, name: str, document: dict[str, Any]) -> None:
        flow_id, deployment_id = f"flow_{name}", f"dep_{name}"
        made: dict[str, Any] = {"workspace": workspace, "created_at": EPOCH, "updated_at": EPOCH}
        self._record(workspace, FlowHead(id=flow_id, slug=name, name=name, description="", version=1, **made))
        self._record(workspace, FlowVersion(flow_id=flow_id, version=1, created_at=EPOCH, document=document))
        limits = NARROW_LIMITS if (workspace, deployment_id) == (SMALL, NARROW) else Limits()
        deployment = Deployment(
            id=deployment_id,
            flow_id=flow_id,
            version=1,
            name=name,
            type="production",
            mode="sync",
            status="active",
            limits=limits,
            **made,
        )
        self._record(workspace, deployment)

    def _record(self, workspace: str, state: State) -> None:
        change = Change(type="made", at=EPOCH, by="key_1", state=state)
        self.server.streams[MANAGEMENT].store(subject_of(workspace, state), msgspec.json.encode(change), {}, 0.0)


class Lived(msgspec.Struct, frozen=True):
    """What came of a world: what its story answered, and what was logged or raised that nobody expects."""

    answer: Any
    defects: list[str]
    digest: str


def live(make: Callable[[VirtualLoop], Made], story: Callable[[Made], Coroutine[Any, Any, T]]) -> Lived:
    """Make a world, have its story told under the made-up clock, and clear it away. Raises what the story raises."""
    with time_machine.travel(EPOCH, tick=False) as clock, _errors() as logged:
        loop = VirtualLoop(clock)
        asyncio.set_event_loop(loop)
        world = make(loop)
        try:
            with (
                patch.object(ids, "_random_bytes", lambda: world.ids.randbytes(10)),
                patch.object(together, "monotonic", world.labour.now),
            ):
                answer = loop.run_until_complete(story(world))
                gc.collect()  # what nobody asked for is told when it is garbage: here, in every life of a seed alike
                lived = Lived(answer, loop.defects + logged, world.digest())
        finally:
            world.clear_away()
            loop.close()
            asyncio.set_event_loop(None)
    return lived


@contextmanager
def _errors() -> Iterator[list[str]]:
    """The product's logger, keeping only what it calls an error: each is a finding."""
    errors: list[str] = []

    def keep(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        told = {name: str(value)[-300:] for name, value in event.items()}
        errors.append(f"logged as an error: {told}")
        raise structlog.DropEvent

    before = structlog.get_config()
    only_errors = structlog.make_filtering_bound_logger("error")
    structlog.configure(processors=[structlog.processors.format_exc_info, keep], wrapper_class=only_errors)
    try:
        yield errors
    finally:
        structlog.configure(**before)
