"""`headgate flows`: what is there, one of them, and whether a file would be accepted."""

from pathlib import Path
from typing import Annotated

import typer

from cli.commands.options import Json, Key, Url, run, server

app = typer.Typer(help="List, show and validate flows.", no_args_is_help=True)

_Flow = Annotated[str, typer.Argument(help="Slug or id.")]


@app.command("list")
def list_flows(json: Json = False, url: Url = "", key: Key = "") -> None:
    """List the flows."""
    run(_list(json, url, key))


@app.command()
def show(
    flow: Annotated[str, typer.Argument(help="Slug or id.")], url: Url = "", key: Key = "", json: Json = False
) -> None:
    """Print a flow's document, as `headgate deploy` takes it."""
    run(_show(flow, url, key))


@app.command()
def validate(file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)], json: Json = False) -> None:
    """Check a flow document without a server; every fault is named with its JSON pointer. Exit code 1 if
    there are any.
    """
    from cli.documents import faults_of, read_document
    from cli.output import print_json, print_table

    faults = faults_of(read_document(file))
    if json:
        print_json({"valid": not faults, "errors": [{"pointer": at, "detail": what} for at, what in faults]})
    elif faults:
        print_table(("WHERE", "WHAT"), faults, empty="")
    else:
        print(f"{file} is a valid flow")
    raise typer.Exit(1 if faults else 0)


async def _list(json: bool, url: str, key: str) -> None:
    from cli.output import day_and_time, print_json, print_table

    async with server(url, key) as api:
        flows = [flow async for flow in api.pages("/v1/flows")]
    if json:
        print_json({"data": flows})
        return
    rows = [
        [flow["slug"], flow["version"], flow.get("name"), day_and_time(flow.get("created_at")), flow["id"]]
        for flow in flows
    ]
    empty = "No flows yet: headgate deploy FLOW.json"
    print_table(["SLUG", "VERSION", "NAME", "CREATED", "ID"], rows, empty=empty)


async def _show(flow: str, url: str, key: str) -> None:
    from cli.output import print_value
    from cli.resolve import flow_id

    async with server(url, key) as api:
        path = f"/v1/flows/{await flow_id(api, flow)}/export"
        print_value(await api.call("GET", path, params={"format": "json"}))
