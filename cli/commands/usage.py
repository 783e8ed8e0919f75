"""`headgate usage`: how much was used, of what, by whom."""

from typing import Annotated

import typer

from cli.commands.options import Json, Key, Url, run, server


def usage(
    by: Annotated[str, typer.Option(help="deployment, key or day.")] = "deployment",
    since: Annotated[
        str, typer.Option(help="Runs asked for at or after, RFC 3339.", show_default="the last 30 days")
    ] = "",
    until: Annotated[str, typer.Option(help="Runs asked for before, RFC 3339.", show_default="now")] = "",
    json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Show requests, runs, errors, tokens, cost and durations by deployment, key or day."""
    span = {"since": since, "until": until}
    run(_usage(by, {name: value for name, value in span.items() if value}, json, url, key))


async def _usage(by: str, span: dict[str, str], json: bool, url: str, key: str) -> None:
    from cli.output import print_json, print_table

    async with server(url, key) as api:
        answer = await api.call("GET", "/v1/usage", params={"group_by": by, **span})
    if json:
        print_json(answer)
        return
    columns = ("requests", "runs", "errors", "input_tokens", "output_tokens", "cost_usd", "p50_seconds", "p95_seconds")
    group = by if by == "day" else f"{by}_id"
    shown = [{**each, "cost_usd": f"{each['cost_usd']:.6f}"} for each in answer["data"]]
    rows = [[each[name] for name in (group, *columns)] for each in shown]
    heading = ["REQUESTS", "RUNS", "ERRORS", "TOKENS IN", "TOKENS OUT", "USD", "P50 S", "P95 S"]
    print_table([by.upper(), *heading], rows, empty="Nothing was used.")
