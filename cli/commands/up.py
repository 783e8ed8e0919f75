"""`headgate up`."""

import os
from pathlib import Path
from typing import Annotated

import typer

_Count = typer.Option(min=1, max=64, metavar="N")


def up(
    gateways: Annotated[int, _Count] = 1,
    auths: Annotated[int, _Count] = 1,
    executors: Annotated[int, _Count] = 1,
    notifiers: Annotated[int, _Count] = 1,
    flows: Annotated[
        Path | None, typer.Option(help="Load and deploy the flows (*.json) of this directory.", metavar="DIR")
    ] = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="Stop when the process that started this one ends.")
    ] = False,
) -> None:
    """Run everything on this machine: NATS, PostgreSQL and the four services; Ctrl-C stops it.

    Settings are environment variables: HEADGATE_PORT (8080), HEADGATE_DATA (.headgate), HEADGATE_ADMIN_KEY,
    HEADGATE_NATS_URL, HEADGATE_POSTGRES_DSN, HEADGATE_FSYNC (always, interval).
    """
    import signal

    from cli.children import dies_with_parent
    from cli.up.plan import read_plan
    from cli.up.screen import Screen
    from cli.up.session import run_stack

    if with_parent and (tie := dies_with_parent(signal.SIGTERM, parent=os.getppid())):
        tie()
    counts = {"gateways": gateways, "auths": auths, "executors": executors, "notifiers": notifiers}
    run_stack(read_plan(os.environ, counts=counts, flows=flows), os.environ, Screen())
