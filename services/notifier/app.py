"""The notifier's composition root: the only place that makes its connections."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from libs.edge.callers import Callers
from libs.edge.problems import malformed
from libs.edge.routes import Edge, problems
from libs.edge.routes import serve as serve_route
from libs.edge.run_events import Reader, events_route
from libs.edge.streams import Streams
from libs.egress import Egress, Policy
from libs.events.broker import Broker, connect
from libs.events.log import EventLog
from libs.events.topology import converge
from libs.runtime.health import Readiness, health_routes
from libs.runtime.listener import listen
from libs.runtime.settings import Settings
from services.notifier.channels.callback import CallbackChannel
from services.notifier.channels.webhook import WebhookChannel
from services.notifier.deliverer import Deliverer
from services.notifier.endpoints import Endpoints
from services.notifier.retries import read_schedule
from services.notifier.sources import consuming
from services.notifier.subscribers import Subscribers


@asynccontextmanager
async def serve(settings: Settings, readiness: Readiness, stopping: asyncio.Event) -> AsyncIterator[None]:
    """Run until the context is left; then streams end at once, and deliveries that are not over go on elsewhere."""
    async with (
        connect(settings.nats_url, settings.instance, stopping.set) as broker,
        Callers(broker) as callers,
        Egress(Policy.parse(settings.egress_allow)) as egress,
        asyncio.TaskGroup() as group,
    ):
        readiness.require("nats", lambda: broker.connected)
        log = EventLog(broker, await converge(broker, settings.streams, settings.replicas))
        subscribers = Subscribers(broker)
        following = group.create_task(subscribers.registry.tail.run())
        await subscribers.registry.tail.caught_up.wait()
        reader = Reader(log=log, streams=Streams())
        deliverer = _deliverer(settings, broker, log, egress, subscribers)
        app = _application(Edge(app=reader, callers=callers, max_body_bytes=settings.max_body_bytes), readiness)
        async with (
            listen(app, settings.host, settings.port, drain_seconds=1.0, malformed=malformed),
            consuming(broker, log, subscribers, deliverer, settings, stopping) as workers,
        ):
            readiness.require("consumers", lambda: all(worker.pull is not None for worker in workers))
            try:
                yield
            finally:
                reader.streams.end()
                await deliverer.close(settings.drain_seconds)
                following.cancel()


def _deliverer(
    settings: Settings, broker: Broker, log: EventLog, egress: Egress, subscribers: Subscribers
) -> Deliverer:
    """A channel is a file and a line here."""
    master = settings.master_secret
    return Deliverer(
        broker,
        log,
        {
            "webhook": WebhookChannel(egress, subscribers, master, settings.delivery_timeout_seconds),
            "callback": CallbackChannel(egress, master, settings.delivery_timeout_seconds),
        },
        Endpoints(broker, subscribers, settings.webhook_failing_seconds, settings.instance),
        read_schedule(settings.delivery_schedule),
        guard_seconds=settings.delivery_timeout_seconds + settings.lease_seconds,
    )


def _application(edge: Edge, readiness: Readiness) -> web.Application:
    app = web.Application(middlewares=[problems])
    app.add_routes([serve_route(edge, events_route())])
    app.add_routes(health_routes(readiness))
    return app
