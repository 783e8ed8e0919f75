"""`headgate dead-letters`: what could not be carried out. For the root workspace's admin."""

from typing import Annotated, Any

import typer

from cli.commands.options import Json, Key, Url, run, server

app = typer.Typer(help="List, show, retry and discard what could not be carried out.", no_args_is_help=True)

_Id = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")]


@app.command("list")
def list_letters(json: Json = False, url: Url = "", key: Key = "") -> None:
    """List what could not be carried out, oldest first."""
    run(_list(json, url, key))


@app.command()
def show(letter: _Id, json: Json = False, url: Url = "", key: Key = "") -> None:
    """Show one: why it could not be, after how many attempts, and what is in it."""
    run(_show(letter, json, url, key))


@app.command()
def retry(letter: _Id, json: Json = False, url: Url = "", key: Key = "") -> None:
    """Carry it out again, once the reason is gone. A run becomes a new run that does not repeat what had finished."""
    run(_retry(letter, json, url, key))


@app.command()
def discard(letter: _Id, json: Json = False, url: Url = "", key: Key = "") -> None:
    """Throw one away that nobody wants carried out any more."""
    run(_discard(letter, json, url, key))


async def _list(json: bool, url: str, key: str) -> None:
    from cli.output import day_and_time, print_json, print_table

    async with server(url, key) as api:
        found = [each async for each in api.pages("/v1/operations/dead-letters")]
    if json:
        print_json({"data": found})
        return
    rows = [
        [each["id"], day_and_time(each["at"]), each["consumer"], each["attempts"], each["run_id"], each["reason"]]
        for each in found
    ]
    print_table(["ID", "AT", "FOR", "ATTEMPTS", "RUN", "REASON"], rows, empty="No dead letters.")


async def _show(letter: str, json: bool, url: str, key: str) -> None:
    from cli.output import print_facts, print_json, print_value

    async with server(url, key) as api:
        found: dict[str, Any] = await api.call("GET", f"/v1/operations/dead-letters/{letter}")
    if json:
        print_json(found)
        return
    payload = found.pop("payload")
    print_facts(found)
    if payload is not None:
        print_value(payload)


async def _retry(letter: str, json: bool, url: str, key: str) -> None:
    from cli.output import print_json

    async with server(url, key) as api:
        answer = await api.call("POST", f"/v1/operations/dead-letters/{letter}/retry")
    if json:
        print_json(answer)
    elif answer["run_id"]:
        print(f"{letter} is carried out again as {answer['run_id']}")
    else:
        print(f"{letter} is carried out again")


async def _discard(letter: str, json: bool, url: str, key: str) -> None:
    from cli.output import print_json

    async with server(url, key) as api:
        await api.call("DELETE", f"/v1/operations/dead-letters/{letter}")
    if json:
        print_json({"discarded": letter})
    else:
        print(f"{letter} is discarded")
