"""`headgate migrate`: bring the log's streams and the tables to what this version needs, before its processes start."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.options import run

if TYPE_CHECKING:
    from libs.runtime.settings import Settings

_PAUSE_SECONDS = 0.5


def migrate(
    patience: Annotated[
        float, typer.Option(help="Seconds to wait for NATS and PostgreSQL to be there.", min=0)
    ] = 120.0,
) -> None:
    """Make or change what this version needs on NATS and PostgreSQL, named by HEADGATE_NATS_URL and the rest.

    May run at any time, any number of times, beside older processes: it only adds.
    """
    run(_migrate(patience))


async def _migrate(patience: float) -> None:
    from cli.failures import CommandError
    from libs.events.broker import Unavailable
    from libs.events.topology import TopologyError
    from libs.runtime.logs import configure_logs
    from libs.runtime.postgres import SchemaError
    from libs.runtime.settings import read_settings

    try:
        settings = read_settings({"HEADGATE_SERVICE": "migrate", **os.environ})
    except ValueError as error:
        raise CommandError(str(error)) from None
    configure_logs(settings.service, settings.instance, "error")
    try:
        print(f"The log has its {await _streams(settings, patience)} event streams and all others.")
        if settings.postgres_dsn:
            print(f"PostgreSQL has its schema: {await _tables(settings, patience)} migrations, all applied.")
    except (Unavailable, TopologyError, SchemaError, ValueError) as error:
        raise CommandError(f"Not migrated: {error}") from None


async def _streams(settings: "Settings", patience: float) -> int:
    import asyncio

    from libs.events.access import access_of
    from libs.events.broker import Unavailable, connect
    from libs.events.topology import converge

    try:
        async with asyncio.timeout(patience + 10):
            access = access_of(settings)
            async with connect(settings.nats_url, settings.instance, lambda: None, access) as broker:
                return await converge(broker, settings.streams, settings.replicas, patience)
    except TimeoutError:
        raise Unavailable(f"NATS did not let us in within {patience:g} s") from None


async def _tables(settings: "Settings", patience: float) -> int:
    import asyncio

    import asyncpg

    from libs.events.broker import Unavailable
    from libs.runtime import postgres
    from libs.storage import migrations
    from services.gateway import read_models

    wanted = read_models.migrations() | migrations()
    deadline = asyncio.get_running_loop().time() + patience
    while True:
        try:
            async with asyncpg.create_pool(settings.postgres_dsn, min_size=1, max_size=1, timeout=5) as pool:
                async with pool.acquire(timeout=5) as connection:
                    await postgres.migrate(connection, wanted)
                return len(wanted)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(f"PostgreSQL cannot be used: {type(error).__name__}") from None
        await asyncio.sleep(_PAUSE_SECONDS)
