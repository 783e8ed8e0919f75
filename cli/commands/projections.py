"""`headgate projections`: the tables that are readings of the log, compared and made anew."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import typer

from cli.commands.options import Json, run

if TYPE_CHECKING:
    from libs.events.broker import Broker
    from libs.runtime.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    help="The tables that are readings of the log: their digest, and a rebuild. NATS and PostgreSQL are enough; where"
    " they are say HEADGATE_NATS_URL and HEADGATE_POSTGRES_DSN, else the stack that runs on $HEADGATE_DATA.",
)

_CONNECT_SECONDS = 10.0


@app.command()
def rebuild(json: Json = False) -> None:
    """Make the tables anew from the log, beside those in use, and put them in their place when they are as far.

    The system goes on meanwhile. Prints the digest of the new tables, and whether the old ones had the same.
    """
    run(_rebuild(json))


@app.command()
def digest(json: Json = False) -> None:
    """Print the digest of the tables: the same rows give the same digest."""
    run(_digest(json))


async def _rebuild(json: bool) -> None:
    import msgspec

    from cli.output import print_facts, print_json
    from libs.events.topology import recorded_count
    from services.gateway.read_models import READINGS, migrations
    from services.gateway.read_models.rebuilding import rebuild as make_anew

    with _failures():
        settings = _settings()
        async with _broker(settings) as broker:
            with _progress() as tell:
                readings = [reading() for reading in READINGS]
                shards = await recorded_count(broker)
                made = await make_anew(broker, shards, settings.postgres_dsn, migrations(), readings, tell)
    if json:
        same = None if made.before is None else made.before == made.digest
        print_json({**msgspec.structs.asdict(made), "same": same})
        return
    told = {"same digest": made.before == made.digest} if made.before else {}
    shown = {name: "yes" if same else "NO: the old tables were not what the log says" for name, same in told.items()}
    before = shown or {"before": "the old tables were not as far as the log, and are not compared"}
    print_facts({"messages": f"{made.messages:,}", **_counted(made.rows), "digest": made.digest, **before})


async def _digest(json: bool) -> None:
    import asyncpg
    import msgspec

    from cli.output import print_facts, print_json
    from services.gateway.read_models import READINGS
    from services.gateway.read_models.digests import digest_of

    with _failures():
        utc = {"timezone": "UTC"}
        dsn = _settings().postgres_dsn
        async with (
            asyncpg.create_pool(dsn, min_size=1, max_size=1, timeout=5, server_settings=utc) as pool,
            pool.acquire(timeout=5) as connection,
        ):
            found = await digest_of(connection, [table for reading in READINGS for table in reading.tables])
    if json:
        print_json(msgspec.structs.asdict(found))
        return
    print_facts({**_counted(found.rows), "digest": found.value})


def _settings() -> "Settings":
    """Where everything is: ValueError where the environment does not say, and no stack runs here."""
    from cli.local import addresses
    from libs.runtime.settings import read_settings

    settings = read_settings({**addresses(), "HEADGATE_SERVICE": "gateway", **os.environ})
    if not settings.postgres_dsn:
        raise ValueError("no PostgreSQL is known: set HEADGATE_POSTGRES_DSN, or HEADGATE_DATA where a stack runs")
    return settings


@asynccontextmanager
async def _broker(settings: "Settings") -> "AsyncIterator[Broker]":
    import asyncio

    from libs.events.access import access_of
    from libs.events.broker import Unavailable, connect

    connecting = connect(settings.nats_url, "projections", lambda: None, access_of(settings))
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                broker = await stack.enter_async_context(connecting)
        except TimeoutError:
            raise Unavailable(f"NATS did not let us in within {_CONNECT_SECONDS:g} s") from None
        yield broker


@contextmanager
def _failures() -> Iterator[None]:
    """What people can do something about is a sentence."""
    import asyncpg

    from cli.failures import CommandError
    from libs.events.broker import Unavailable
    from libs.runtime.logs import configure_logs
    from services.gateway.read_models.rebuilding import RebuildRefused

    configure_logs("projections", "projections", "error")
    try:
        yield
    except (Unavailable, RebuildRefused, ValueError) as error:
        raise CommandError(f"Not done: {error}.") from None
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CommandError(f"Not done: PostgreSQL could not be used ({type(error).__name__}).") from None


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, where people look at it."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Reading the log", total=None)
        yield lambda read, of: bar.update(task, completed=read, total=of)


def _counted(rows: dict[str, int]) -> dict[str, str]:
    return {f"rows of {table}": f"{count:,}" for table, count in rows.items()}
