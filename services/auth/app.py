"""The composition root of the auth service: what it is made of, started and stopped in order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog

from libs.events.access import access_of
from libs.events.broker import connect
from libs.events.preparation import prepared
from libs.events.roll import answering
from libs.runtime.health import Readiness
from libs.runtime.listener import health_only
from libs.runtime.settings import Settings
from services.auth.bootstrap import bootstrap
from services.auth.commands import Commands
from services.auth.directory import Directory
from services.auth.key_text import pepper_of
from services.auth.replica import Replica
from services.auth.responder import Responder

_CATCH_UP_SECONDS = 60.0

log = structlog.get_logger()


@asynccontextmanager
async def serve(settings: Settings, readiness: Readiness, stopping: asyncio.Event) -> AsyncIterator[None]:
    """Run one auth process. ValueError where the master key or the admin key is no such thing."""
    pepper = pepper_of(settings.master_secret)
    serving = asyncio.Event()
    readiness.require("keys", serving.is_set)
    async with (
        health_only(readiness, settings.host, settings.port),
        connect(settings.nats_url, settings.instance, stopping.set, access_of(settings)) as broker,
        answering(broker, settings, readiness),
    ):
        readiness.require("broker", lambda: broker.connected)
        await prepared(broker, settings)
        directory = Directory()
        replica = Replica(broker, directory)
        async with _following(replica, stopping):
            async with asyncio.timeout(_CATCH_UP_SECONDS):
                await replica.caught_up.wait()
            await bootstrap(replica, pepper, settings.admin_key, datetime.now(UTC))
            async with Responder(replica, Commands(replica, pepper), pepper).serving():
                serving.set()
                yield


@asynccontextmanager
async def _following(replica: Replica, stopping: asyncio.Event) -> AsyncIterator[None]:
    """Keep the replica up; where that fails, the process stops, for what it would answer is no longer true."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("following the changes failed", exc_info=error)
            stopping.set()

    task = asyncio.create_task(replica.run())
    task.add_done_callback(ended)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
