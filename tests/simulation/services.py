"""The system's processes, put together as their composition roots do, from the product's own parts."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

from libs.catalog.versions import Versions
from libs.edge.streams import Streams
from libs.events.broker import Broker
from libs.events.log import EventLog
from libs.events.subjects import CANCEL
from libs.events.timers import due_timers, keep_sweeping
from libs.runtime.settings import Settings
from libs.storage.secret_values import Secrets
from services.executor.app import DURABLE, due_worker, requests_worker
from services.executor.effects import Performer
from services.executor.files import Files
from services.executor.models import Models
from services.executor.models.echo import Echo
from services.executor.resting import KIND
from services.executor.runs import Runs
from services.executor.turns import Turns
from services.gateway.admission.gate import Gate
from services.gateway.cache import Cache
from services.gateway.directory import Directory
from services.gateway.feeder import Feeder, feeders
from services.gateway.gathering import Gathering
from services.gateway.state import Gateway
from services.gateway.waiting import waiting
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.outside import Door, Outside, Talker
from tests.simulation.server import Server
from tests.simulation.wire import Wire

SETTINGS = Settings(lease_seconds=10.0, concurrency=64, drain_seconds=3.0, sync_timeout_seconds=20.0)


class Service:
    """One process and its connection. `stop` is SIGTERM."""

    def __init__(self, loop: VirtualLoop, server: Server, kind: str, slot: str, life: int) -> None:
        self.kind = kind
        self.slot = slot
        self.process = Process(loop, f"{slot}-{life}")
        self.wire = Wire(server, self.process)
        self.broker = cast(Broker, self.wire)
        self.stopping = asyncio.Event()
        self.gateway: Gateway | None = None
        """A gateway's parts, once it is ready."""
        self.task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        self.stopping.set()


async def run_executor(service: Service, shards: int, outside: Outside) -> None:
    """`services.executor.app.serve`, without what needs PostgreSQL."""
    broker, name = service.broker, service.process.name
    models = Models({"echo": Echo(), "talker": Talker(outside, service.process)})
    performer = Performer(cast(Any, Door(outside, service.process)), models, cast(Any, None))
    secrets = Secrets(cast(Any, None))
    files = Files(cast(Any, None), cast(Any, None), max_bytes=0, types=())
    log = EventLog(broker, shards)
    turns = Turns(SETTINGS.concurrency)
    runs = Runs(broker, log, Versions(broker), performer, secrets, files, turns, name, SETTINGS.lease_seconds)
    await broker.subscribe(CANCEL, runs.on_cancel)
    async with asyncio.TaskGroup() as group:
        due = due_timers(KIND, DURABLE, SETTINGS.lease_seconds)
        minding = [group.create_task(runs.watch()), group.create_task(keep_sweeping(broker, due))]
        workers = [requests_worker(broker, shard, SETTINGS, shards, runs, turns) for shard in range(shards)]
        for each in (*workers, due_worker(broker, due, SETTINGS, shards, runs, turns)):
            group.create_task(each.run(service.stopping, SETTINGS.drain_seconds))
        await service.stopping.wait()
        turns.close()
        for task in minding:
            task.cancel()


async def run_gateway(service: Service, shards: int) -> None:
    """`services.gateway.app.serve`, without HTTP and the tables."""
    broker, name = service.broker, service.process.name
    log = EventLog(broker, shards)
    directory = Directory(broker)
    gate = Gate(broker, log)
    async with waiting(broker, log, name) as waiters, asyncio.TaskGroup() as group:
        absent: dict[str, Any] = dict.fromkeys(Gateway.__struct_fields__, SimpleNamespace())
        here = {
            "settings": SETTINGS,
            "broker": broker,
            "log": log,
            "directory": directory,
            "versions": Versions(broker),
            "waiting": waiters,
            "streams": Streams(),
            "gathering": Gathering(log),
            "gate": gate,
            "cache": Cache(broker),
        }
        gateway = Gateway(**absent | here)
        background = group.create_task(directory.registry.tail.run())
        await directory.registry.tail.caught_up.wait()
        for each in feeders(broker, log, Feeder(log, gate, directory)):
            group.create_task(each.run(service.stopping, SETTINGS.drain_seconds))
        service.gateway = gateway
        await service.stopping.wait()
        service.gateway = None
        waiters.leave()
        background.cancel()
