"""The `headgate` command: every subcommand, in the order of `--help`."""

import sys

import typer

from cli.commands import dead_letters, flows, keys, projections, runs
from cli.commands.audit import audit
from cli.commands.cluster_secrets import cluster_secrets
from cli.commands.deploy import deploy
from cli.commands.doctor import doctor
from cli.commands.migrate import migrate
from cli.commands.status import status
from cli.commands.up import up
from cli.commands.usage import usage
from cli.failures import CommandError

app = typer.Typer(
    help="Flows as production REST APIs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    up,
    status,
    doctor,
    deploy,
    runs.run,
    runs.runs,
    runs.events,
    runs.cancel,
    usage,
    audit,
    migrate,
    cluster_secrets,
):
    app.command()(command)
app.add_typer(flows.app, name="flows")
app.add_typer(keys.app, name="keys")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(projections.app, name="projections")


def main() -> None:
    """The console script: 0 done, 1 not done, 2 not understood, 130 interrupted."""
    try:
        app()
    except CommandError as error:
        sys.exit(f"{error}\n{error.hint}".rstrip())
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has what it wanted; Python would complain about the rest
        sys.exit(1)
