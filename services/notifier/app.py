"""The notifier's composition root: the only place that makes its connections."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from libs.edge.callers import Callers
from libs.edge.problems import malformed
from libs.edge.routes import Edge, problems
from libs.edge.routes import serve as serve_route
from libs.edge.run_events import Reader, events_route
from libs.edge.streams import Streams
from libs.egress import Egress, Policy
from libs.events.access import access_of
from libs.events.broker import Broker, connect
from libs.events.deliveries import Channel as ChannelName
from libs.events.log import EventLog
from libs.events.preparation import prepared
from libs.events.roll import answering
from libs.runtime.health import Readiness, health_routes
from libs.runtime.listener import listen
from libs.runtime.settings import Settings
from services.notifier.alarm import Alarm
from services.notifier.alerts import Alerts
from services.notifier.channels import Channel
from services.notifier.channels.callback import CallbackChannel
from services.notifier.channels.email import open_email
from services.notifier.channels.webhook import WebhookChannel
from services.notifier.deliverer import Deliverer
from services.notifier.endpoints import Endpoints
from services.notifier.retries import read_schedule
from services.notifier.sources import consuming
from services.notifier.subscribers import Subscribers

_CONNECTIONS = 4096
_OF_A_HOST = 64
"""As many attempts as there may be under way, and as one lane may have: hosts that hang take no other's place."""

_LAST_SECONDS = 2.0
"""After the workers have drained: for attempts that a timer stands behind, which are made again if they are cut off."""


@asynccontextmanager
async def serve(settings: Settings, readiness: Readiness, stopping: asyncio.Event) -> AsyncIterator[None]:
    """Run until the context is left; then streams end at once, and deliveries that are not over go on elsewhere."""
    async with (
        connect(settings.nats_url, settings.instance, stopping.set, access_of(settings)) as broker,
        Callers(broker) as callers,
        Egress(
            Policy.parse(settings.egress_allow), connections=_CONNECTIONS, connections_per_host=_OF_A_HOST
        ) as egress,
        open_email(settings) as email,
        answering(broker, settings, readiness),
        asyncio.TaskGroup() as group,
    ):
        readiness.require("nats", lambda: broker.connected)
        log = EventLog(broker, await prepared(broker, settings))
        subscribers = Subscribers(broker)
        following = group.create_task(subscribers.registry.tail.run())
        await subscribers.registry.tail.caught_up.wait()
        reader = Reader(log=log, streams=Streams())
        master, seconds = settings.master_secret, settings.delivery_timeout_seconds
        # A channel is a file, and a line here.
        channels: dict[ChannelName, Channel] = {
            "webhook": WebhookChannel(egress, subscribers, master, seconds),
            "callback": CallbackChannel(egress, master, seconds),
            "email": email,
        }
        deliverer = _deliverer(settings, broker, log, channels, subscribers)
        app = _application(Edge(app=reader, callers=callers, max_body_bytes=settings.max_body_bytes), readiness)
        try:
            async with (
                listen(app, settings.host, settings.port, 1.0, malformed, settings.linger_seconds),
                consuming(broker, log, subscribers, deliverer, settings, stopping) as workers,
            ):
                readiness.require("consumers", lambda: all(worker.pull is not None for worker in workers))
                try:
                    yield
                finally:
                    reader.streams.end()
                    asyncio.get_running_loop().call_later(settings.linger_seconds, reader.streams.end)
        finally:
            await deliverer.close(_LAST_SECONDS)
            following.cancel()


def _deliverer(
    settings: Settings,
    broker: Broker,
    log: EventLog,
    channels: Mapping[ChannelName, Channel],
    subscribers: Subscribers,
) -> Deliverer:
    return Deliverer(
        broker,
        log,
        channels,
        Endpoints(broker, subscribers, settings.webhook_failing_seconds, settings.instance),
        Alarm(broker, Alerts(settings.alert_addresses)),
        read_schedule(settings.delivery_schedule),
        guard_seconds=settings.delivery_timeout_seconds + settings.lease_seconds,
    )


def _application(edge: Edge, readiness: Readiness) -> web.Application:
    app = web.Application(middlewares=[problems])
    app.add_routes([serve_route(edge, events_route())])
    app.add_routes(health_routes(readiness))
    return app
