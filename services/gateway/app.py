"""The gateway's composition root: the only place that makes its connections."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version

from aiohttp import web

from libs.catalog.versions import Versions
from libs.edge.callers import Callers
from libs.edge.problems import malformed
from libs.edge.routes import Edge, HeadersOf, add_headers, express, problems
from libs.edge.routes import serve as serve_route
from libs.edge.streams import Streams
from libs.edge.whole import Prepare
from libs.egress import Egress, Policy
from libs.events.access import access_of
from libs.events.auth_calls import Principal
from libs.events.broker import Broker, connect
from libs.events.log import EventLog
from libs.events.preparation import prepared
from libs.events.roll import answering
from libs.runtime.health import Readiness, health_routes
from libs.runtime.listener import listen
from libs.runtime.postgres import Database, database
from libs.runtime.providers import read_endpoints
from libs.runtime.settings import Settings
from libs.storage import migrations
from libs.storage.collections import Collections
from libs.storage.embeddings import embedder
from libs.storage.files import FileStore
from libs.storage.secret_values import Secrets
from libs.storage.secrets import SecretStore
from services.gateway import read_models
from services.gateway.admission.gate import Gate
from services.gateway.api import ROUTES
from services.gateway.cache import Cache
from services.gateway.dialects import SLASHED
from services.gateway.directory import Directory, account_of
from services.gateway.feeder import Feeder, feeders
from services.gateway.gathering import Gathering
from services.gateway.health.watch import Watch
from services.gateway.pages import page_routes
from services.gateway.read_models import READINGS
from services.gateway.read_models.deliveries import DeliveryTable
from services.gateway.read_models.projector import Projector
from services.gateway.read_models.runs import RunTable
from services.gateway.state import Gateway
from services.gateway.waiting import waiting

_DATABASE_GRACE_SECONDS = 10.0
_WAIT_SHARE = 0.8
"""Of the time that a stopping gateway has: until then callers wait for their runs, then they are told to look again."""


@asynccontextmanager
async def serve(settings: Settings, readiness: Readiness, stopping: asyncio.Event) -> AsyncIterator[None]:
    """Run until the context is left; requests under way are answered, streams are ended."""
    streams = Streams()
    schema = read_models.migrations() | migrations()
    endpoints = read_endpoints(os.environ)
    policy = providers_policy = Policy.parse(settings.egress_allow)
    for endpoint in endpoints.values():
        providers_policy = providers_policy.trusting(endpoint.host)
    async with (
        connect(settings.nats_url, settings.instance, stopping.set, access_of(settings)) as broker,
        database(settings.postgres_dsn, schema, settings.instance, converge=settings.converge) as tables,
        Callers(broker) as callers,
        Egress(providers_policy) as egress,
        answering(broker, settings, readiness),
    ):
        readiness.require("nats", lambda: broker.connected)
        log = EventLog(broker, await prepared(broker, settings))
        directory = Directory(broker)
        readiness.require("directory", directory.registry.tail.caught_up.is_set)
        _require_database(readiness, tables)
        async with waiting(broker, log, settings.instance) as waiters, asyncio.TaskGroup() as group:
            secrets = SecretStore(tables, settings.master_secret)
            gateway = Gateway(
                settings=settings,
                broker=broker,
                tables=tables,
                log=log,
                callers=callers,
                directory=directory,
                versions=Versions(broker),
                waiting=waiters,
                streams=streams,
                runs=RunTable(log, tables),
                gathering=Gathering(log),
                gate=Gate(broker, log),
                cache=Cache(broker),
                files=FileStore(tables),
                secrets=secrets,
                hook_secrets=Secrets(secrets),
                collections=Collections(tables, embedder(egress, endpoints, settings.embedding_model)),
                deliveries=DeliveryTable(broker, tables),
                policy=policy,
            )
            background = [group.create_task(each.run()) for each in projectors(broker, tables, log.shards)]
            background.append(group.create_task(directory.registry.tail.run()))
            background.append(group.create_task(Watch(broker, tables, settings.data).run()))
            await directory.registry.tail.caught_up.wait()
            for each in feeders(broker, log, Feeder(log, gateway.gate, directory)):
                group.create_task(each.run(stopping, settings.drain_seconds))
            try:
                edge, headed = edge_of(gateway), add_headers(_limits_of(gateway))
                app, fast = application(edge, headed, readiness), express(edge, (*ROUTES, *SLASHED), headed)
                linger, drain = settings.linger_seconds, settings.drain_seconds
                async with listen(app, settings.host, settings.port, drain, malformed, linger, fast):
                    yield
                    streams.end()
                    loop = asyncio.get_running_loop()
                    loop.call_later(linger, streams.end)
                    loop.call_later(linger + drain * _WAIT_SHARE, waiters.leave)
            finally:
                stopping.set()
                for task in background:
                    task.cancel()


def edge_of(gateway: Gateway) -> Edge:
    """What serving the gateway's routes needs."""
    return Edge(app=gateway, callers=gateway.callers, max_body_bytes=gateway.settings.max_body_bytes)


def _limits_of(gateway: Gateway) -> HeadersOf:
    async def headers_of(caller: Principal) -> Mapping[str, str]:
        limits = account_of(caller.limits)
        return await gateway.gate.headers(caller.workspace, limits) if limits else {}

    return headers_of


def application(edge: Edge, headed: Prepare, readiness: Readiness) -> web.Application:
    """Every route of the gateway."""
    app = web.Application(middlewares=[problems], client_max_size=0)
    app.on_response_prepare.append(headed)
    app.add_routes([serve_route(edge, route) for route in (*ROUTES, *SLASHED)])
    app.add_routes(page_routes(ROUTES, version("headgate")))
    app.add_routes(health_routes(readiness))
    return app


def projectors(broker: Broker, tables: Database, shards: int) -> list[Projector]:
    """One for each stream of each reading."""
    readings = [reading() for reading in READINGS]
    return [
        Projector(broker, tables, reading, stream, subjects)
        for reading in readings
        for stream, subjects in reading.streams(shards).items()
    ]


def _require_database(readiness: Readiness, tables: Database) -> None:
    """Ready with the tables, or after a while without PostgreSQL: runs go on while it is away.

    Never ready with a PostgreSQL that lacks tables: `headgate migrate` was forgotten, and a rollout must not go on.
    """
    loop = asyncio.get_running_loop()
    since = loop.time()

    def fit() -> bool:
        return tables.ready.is_set() or (not tables.outdated and loop.time() - since > _DATABASE_GRACE_SECONDS)

    readiness.require("postgres", fit)
