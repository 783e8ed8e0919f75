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
from libs.events.broker import connect
from libs.events.log import EventLog
from libs.events.topology import converge
from libs.runtime.health import Readiness, health_routes
from libs.runtime.listener import listen
from libs.runtime.settings import Settings


@asynccontextmanager
async def serve(settings: Settings, readiness: Readiness, stopping: asyncio.Event) -> AsyncIterator[None]:
    """Run until the context is left; then streams end at once and go on elsewhere."""
    async with connect(settings.nats_url, settings.instance, stopping.set) as broker, Callers(broker) as callers:
        readiness.require("nats", lambda: broker.connected)
        log = EventLog(broker, await converge(broker, settings.streams, settings.replicas))
        reader = Reader(log=log, streams=Streams())
        edge = Edge(app=reader, callers=callers, max_body_bytes=settings.max_body_bytes)
        app = web.Application(middlewares=[problems])
        app.add_routes([serve_route(edge, events_route())])
        app.add_routes(health_routes(readiness))
        async with listen(app, settings.host, settings.port, drain_seconds=1.0, malformed=malformed):
            yield
            reader.streams.end()
