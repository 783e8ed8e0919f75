"""`headgate audit`: who did what, when and from where."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.options import Json, Key, Url, run, server

if TYPE_CHECKING:
    from cli.api import Api

_LOOK_SECONDS = 1.0


def audit(
    since: Annotated[str, typer.Option(help="Happened at or after, RFC 3339.")] = "",
    until: Annotated[str, typer.Option(help="Happened before, RFC 3339.")] = "",
    kind: Annotated[str, typer.Option("--type", help="A type, such as key.rotated, or a noun: key.")] = "",
    run_id: Annotated[str, typer.Option("--run", help="Only what happened to this run.", metavar="RUN_ID")] = "",
    by: Annotated[str, typer.Option(help="Only what was done with this key.", metavar="KEY_ID")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay, and show what happens from now on.")] = False,
    json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Show what happened in the workspace, oldest first; with --json, one object a line."""
    filters = {"since": since, "until": until, "type": kind, "run_id": run_id, "key_id": by}
    run(_audit({name: value for name, value in filters.items() if value}, follow, json, url, key))


async def _audit(filters: dict[str, str], follow: bool, json: bool, url: str, key: str) -> None:
    import msgspec

    async with server(url, key) as api:
        async for line in _lines(api, filters, follow):
            print(line.decode() if json else _told(msgspec.json.decode(line)), flush=follow)


async def _lines(api: "Api", filters: dict[str, str], follow: bool) -> AsyncIterator[bytes]:
    """Every entry there is; to follow, again and again what is new after the last one."""
    import asyncio

    import msgspec

    after: dict[str, str] = {}
    while True:
        last = b""
        async for line in api.lines("/v1/audit/events", {**filters, **after, "format": "ndjson"}):
            last = line
            yield line
        if not follow:
            return
        if last:
            after = {"after": msgspec.json.decode(last)["position"]}
        await asyncio.sleep(_LOOK_SECONDS)


def _told(entry: dict[str, Any]) -> str:
    from cli.output import day_and_time

    where = entry.get("address", "")
    about = " ".join(str(entry[name]) for name in ("run_id", "node", "entity_id") if name in entry)
    line = f"{day_and_time(entry['at'])}  {entry['type']:<20}  {entry['by']:<24}  {where:<15}  {about}"
    return line.rstrip()
