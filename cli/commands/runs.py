"""`headgate run`, `runs`, `events` and `cancel`: what was asked for, and what became of it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.options import Json, Key, Url, server
from cli.commands.options import run as do

if TYPE_CHECKING:
    from cli.api import Api

_RunId = Annotated[str, typer.Argument(metavar="RUN_ID")]


def run(
    deployment: Annotated[str, typer.Argument(metavar="SLUG_OR_ID", help="A flow's slug, or a deployment's id.")],
    document: Annotated[
        str, typer.Option("--input", help="The input as JSON; @FILE reads a file, - standard input.", metavar="JSON")
    ] = "",
    fields: Annotated[
        list[str] | None,
        typer.Option("-i", help="A field: name=text, or name:=JSON for numbers and the like.", metavar="KEY=VALUE"),
    ] = None,
    session: Annotated[str, typer.Option(help="The session to go on with.", metavar="ID")] = "",
    json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Start a run, show its nodes as they light up, then print its output. Exit code 1 when it did not
    complete.
    """
    from cli.inputs import read_input

    body: dict[str, Any] = {"input": read_input(document, fields or []), "mode": "stream"}
    do(_run(deployment, body | ({"session_id": session} if session else {}), json, url, key))


def runs(
    deployment: Annotated[str, typer.Option(help="Only of this deployment, by slug or id.")] = "",
    flow: Annotated[str, typer.Option(help="Only of this flow, by slug or id.")] = "",
    status: Annotated[str, typer.Option(help="queued, running, completed, failed or cancelled.")] = "",
    session: Annotated[str, typer.Option(help="Only of this session.")] = "",
    since: Annotated[str, typer.Option(help="Created at or after, RFC 3339.")] = "",
    until: Annotated[str, typer.Option(help="Created before, RFC 3339.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 20,
    json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """List runs, newest first."""
    filters = {"deployment_id": deployment, "status": status, "session_id": session, "since": since, "until": until}
    do(_runs({name: value for name, value in filters.items() if value}, flow, limit, json, url, key))


def events(
    run_id: _RunId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Stay until the run has ended.")] = False,
    json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Show the events of a run; with --json, one object a line."""
    do(_events(run_id, follow, json, url, key))


def cancel(run_id: _RunId, json: Json = False, url: Url = "", key: Key = "") -> None:
    """Ask for a run to be cancelled."""
    do(_cancel(run_id, json, url, key))


async def _run(deployment: str, body: dict[str, Any], json: bool, url: str, key: str) -> None:
    from cli.follow import start_and_follow
    from cli.live import watch
    from cli.output import print_json, print_value
    from cli.progress import evolve, expected

    async with server(url, key) as api:
        started = start_and_follow(api, deployment, body)
        if json:
            progress = expected([])
            async for event in started:
                progress = evolve(progress, event)
        else:
            progress = await watch(started, await _nodes(api, deployment))
        ended = await api.call("GET", f"/v1/runs/{progress.run_id}")
    if json:
        print_json(ended)
    elif ended["status"] == "completed":
        print_value(ended["output"])
    else:
        _explain(ended)
    if ended["status"] != "completed":
        raise typer.Exit(1)


def _explain(ended: dict[str, Any]) -> None:
    error = ended.get("error") or {}
    where = f" at {error['node']}" if error.get("node") else ""
    reason = f": {error.get('message')} ({error.get('code')})" if error else ""
    typer.secho(f"The run {ended['status']}{where}{reason}", fg="red", err=True)
    typer.echo(f"headgate events {ended['id']} shows every step.", err=True)


async def _nodes(api: "Api", deployment: str) -> list[str]:
    """The flow's nodes, to show those that have not begun; none for a key that may run but not look."""
    from cli.api import ApiError

    try:
        deployed = await api.call("GET", f"/v1/deployments/{deployment}")
        flow = deployed["flow_id"]
        document = await api.call("GET", f"/v1/flows/{flow}/export", params={"format": "json"})
    except ApiError as error:
        if error.status == 403:
            return []
        raise
    return [str(node["id"]) for node in document.get("nodes", [])]


async def _runs(filters: dict[str, str], flow: str, limit: int, json: bool, url: str, key: str) -> None:
    from cli.output import day_and_time, print_json, print_table
    from cli.resolve import flow_id

    found: list[dict[str, Any]] = []
    async with server(url, key) as api:
        if flow:
            filters["flow_id"] = await flow_id(api, flow)
        async for each in api.pages("/v1/runs", {**filters, "limit": str(min(limit, 100))}):
            found.append(each)
            if len(found) == limit:
                break
    if json:
        print_json({"data": found})
        return
    rows = [
        [
            each["id"],
            each["status"],
            day_and_time(each["created_at"]),
            each.get("duration_seconds"),
            each["flow_id"],
            each["version"],
            (each.get("error") or {}).get("message"),
        ]
        for each in found
    ]
    print_table(["RUN", "STATUS", "CREATED", "SECONDS", "FLOW", "VERSION", "ERROR"], rows, empty="No runs.")


async def _events(run_id: str, follow_on: bool, json: bool, url: str, key: str) -> None:
    import msgspec

    from cli.follow import follow
    from cli.output import print_table

    async with server(url, key) as api:
        if follow_on:
            async for event in follow(api, run_id):
                at = event.at.strftime("%H:%M:%S.%f")[:-3]
                line = msgspec.json.encode(event).decode()
                print(line if json else f"{event.seq:>5}  {at}  {event.type:<14} {event.node or ''}", flush=True)
            return
        answer = await api.call("GET", f"/v1/runs/{run_id}/events")
    if json:
        for each in answer["data"]:
            print(msgspec.json.encode(each).decode())
        return
    rows = [
        [each["seq"], each["at"][11:23], each["type"], each.get("node"), _summary(each.get("data") or {})]
        for each in answer["data"]
    ]
    print_table(["SEQ", "AT", "EVENT", "NODE", "DATA"], rows, empty="No events.")


def _summary(data: dict[str, Any]) -> str:
    import msgspec

    text = msgspec.json.encode(data).decode()
    return text if len(text) <= 80 else f"{text[:79]}…"


async def _cancel(run_id: str, json: bool, url: str, key: str) -> None:
    from cli.output import print_json

    async with server(url, key) as api:
        answer = await api.call("POST", f"/v1/runs/{run_id}/cancel")
    if json:
        print_json(answer)
    else:
        print(f"{run_id} is being cancelled")
