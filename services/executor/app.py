"""The executor's composition root: the only place that makes its connections."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from libs.catalog.versions import Versions
from libs.egress import Egress, Policy
from libs.events.access import access_of
from libs.events.broker import Broker, Unavailable, connect
from libs.events.log import EventLog
from libs.events.preparation import prepared
from libs.events.roll import answering
from libs.events.subjects import CANCEL, SHARE, Kind, kind_filter, stream_of
from libs.events.timers import due_timers, keep_sweeping
from libs.events.worker import Subscription, Worker
from libs.runtime.health import Readiness
from libs.runtime.listener import health_only
from libs.runtime.postgres import database
from libs.runtime.providers import read_endpoints
from libs.runtime.settings import Settings
from libs.storage import migrations
from libs.storage.collections import Collections
from libs.storage.embeddings import embedder
from libs.storage.files import FileStore
from libs.storage.secret_values import Secrets
from libs.storage.secrets import SecretStore
from services.executor.effects import Performer
from services.executor.files import Files
from services.executor.models import Models, providers
from services.executor.resting import KIND
from services.executor.runs import Runs
from services.executor.search import Search
from services.executor.turns import Turns

DURABLE = "executors"
"""The name of the executors' consumers. A promise: renaming it runs every run again."""

_LOOK_SECONDS = 0.1


@asynccontextmanager
async def serve(settings: Settings, readiness: Readiness, stopping: asyncio.Event) -> AsyncIterator[None]:
    """Run until the context is left; what is in hand is finished or handed over."""
    endpoints = read_endpoints(os.environ)
    policy = providers_policy = Policy.parse(settings.egress_allow)
    for endpoint in endpoints.values():
        providers_policy = providers_policy.trusting(endpoint.host)
    turns = Turns(settings.concurrency)
    async with (
        health_only(readiness, settings.host, settings.port),
        connect(settings.nats_url, settings.instance, stopping.set, access_of(settings)) as broker,
        Egress(policy, connections=turns.most, connections_per_host=turns.most) as egress,
        Egress(providers_policy, connections=turns.most, connections_per_host=turns.most) as providers_egress,
        database(settings.postgres_dsn, migrations(), settings.instance, converge=settings.converge) as tables,
        answering(broker, settings, readiness),
    ):
        readiness.require("nats", lambda: broker.connected)
        log = EventLog(broker, await prepared(broker, settings))
        collections = Collections(tables, embedder(providers_egress, endpoints, settings.embedding_model))
        performer = Performer(egress, Models(providers(providers_egress, endpoints)), Search(collections))
        secrets = Secrets(SecretStore(tables, settings.master_secret))
        types = tuple(filter(None, settings.file_types.split(",")))
        files = Files(FileStore(tables), egress, max_bytes=settings.max_file_bytes, types=types)
        runs = Runs(
            broker,
            log,
            Versions(broker),
            performer,
            secrets,
            files,
            turns,
            settings.instance,
            settings.lease_seconds,
        )
        await broker.subscribe(CANCEL, runs.on_cancel)
        await broker.subscribe(SHARE, runs.on_share)
        async with asyncio.TaskGroup() as group:
            due = due_timers(KIND, DURABLE, settings.lease_seconds)
            minding = [group.create_task(runs.watch()), group.create_task(keep_sweeping(broker, due))]
            closing = group.create_task(_close(turns, stopping))
            workers = [requests_worker(broker, shard, settings, log.shards, runs, turns) for shard in range(log.shards)]
            workers.append(due_worker(broker, due, settings, log.shards, runs, turns))
            for each in workers:
                group.create_task(each.run(stopping, settings.drain_seconds))
            minding.append(group.create_task(_announce(broker, workers)))
            readiness.require("consumers", lambda: all(w.pull is not None for w in workers))
            try:
                yield
            finally:
                stopping.set()
                for task in minding:
                    task.cancel()
                await closing


async def _announce(broker: Broker, workers: Sequence[Worker]) -> None:
    """Say once that there is another executor, when it can take what the others hand back."""
    while not all(worker.pull is not None for worker in workers):  # noqa: ASYNC110  # a pull has no event for it
        await asyncio.sleep(_LOOK_SECONDS)
    with suppress(Unavailable):
        await broker.publish(SHARE)


async def _close(turns: Turns, stopping: asyncio.Event) -> None:
    """What has not begun when the process is told to stop is others' to begin."""
    await stopping.wait()
    turns.close()


def requests_worker(broker: Broker, shard: int, settings: Settings, shards: int, runs: Runs, turns: Turns) -> Worker:
    """The worker of one event stream; streams share the executor's room evenly."""
    subscription = Subscription(
        stream=stream_of(shard),
        durable=DURABLE,
        filter=kind_filter(shard, Kind.REQUESTED),
        lease_seconds=settings.lease_seconds,
    )
    room = max(1, (settings.concurrency + settings.waiting) // shards)

    def free() -> int:
        return 0 if turns.full else room - found.busy

    found = Worker(broker, subscription, runs.on_run_requested, free, runs.on_poison)
    return found


def due_worker(broker: Broker, due: Subscription, settings: Settings, shards: int, runs: Runs, turns: Turns) -> Worker:
    """The worker of the runs whose wait is over; it has as much room as a stream, beside them."""
    room = max(1, (settings.concurrency + settings.waiting) // shards)

    def free() -> int:
        return 0 if turns.full else room - found.busy

    found = Worker(broker, due, runs.on_run_due, free, runs.on_due_poison)
    return found
