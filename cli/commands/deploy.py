"""`headgate deploy`: a file becomes an endpoint."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.options import Json, Key, Url, kept_key, key_file, run, server, server_address

if TYPE_CHECKING:
    from cli.api import Api


def deploy(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="FLOW.json")],
    mode: Annotated[str, typer.Option(help="sync, async or stream; of a new deployment.")] = "sync",
    kind: Annotated[str, typer.Option("--type", help="production or test.")] = "production",
    name: Annotated[str, typer.Option(help="Of a new deployment.", show_default="the flow's")] = "",
    json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Create the flow in FLOW.json, or a new version of it, and deploy that.

    A deployment that exists moves to the new version and keeps its address and its key; a new one shows its
    key once.
    """
    run(_deploy(file, {"mode": mode, "type": kind, "name": name}, json, url, key))


async def _deploy(file: Path, wanted: dict[str, str], json: bool, url: str, key: str) -> None:
    from cli.documents import read_document
    from cli.output import print_json

    document = read_document(file)
    async with server(url, key) as api:
        flow = await _save(api, {"slug": file.stem, **document})
        deployment = await _see_deployed(
            api, flow, {**wanted, "name": wanted["name"] or document.get("name", file.stem)}
        )
    if json:
        print_json(deployment)
    else:
        _show(deployment, flow, document, server_address(url))


async def _save(api: "Api", document: dict[str, Any]) -> dict[str, Any]:
    """The flow with its present version; a document that is already the newest version makes none."""
    from cli.resolve import find_flow

    found = await find_flow(api, document["slug"])
    if found is None:
        return dict(await api.call("POST", "/v1/flows", body=document))
    if await api.call("GET", f"/v1/flows/{found}/export", params={"format": "json"}) == document:
        return dict(await api.call("GET", f"/v1/flows/{found}"))
    return dict(await api.call("PUT", f"/v1/flows/{found}", body=document))


async def _see_deployed(api: "Api", flow: dict[str, Any], wanted: dict[str, str]) -> dict[str, Any]:
    async for each in api.pages("/v1/deployments", {"flow_id": flow["id"]}):
        if each["flow_id"] == flow["id"] and each["type"] == wanted["type"]:
            if each["version"] == flow["version"]:
                return dict(each)
            return dict(await api.call("PATCH", f"/v1/deployments/{each['id']}", body={"version": flow["version"]}))
    return dict(await api.call("POST", f"/v1/flows/{flow['id']}/deployments", body=wanted))


def _show(deployment: dict[str, Any], flow: dict[str, Any], document: dict[str, Any], address: str) -> None:
    from cli.curl import key_in, start_run
    from cli.documents import sample_input
    from cli.output import print_facts

    facts = {"deployment": deployment["id"], "flow": f"{flow['slug']}, version {deployment['version']}"}
    facts |= {f"endpoint {name}": where for name, where in deployment.get("endpoints", {}).items()}
    shown_once = {"key": deployment.get("api_key"), "signing secret": deployment.get("signing_secret")}
    facts |= {name: f"{value}  (shown this once)" for name, value in shown_once.items() if value}
    print_facts(facts)
    kept = key_in(key_file()) if kept_key() else "$HEADGATE_API_KEY"
    print(f"\n{start_run(address, deployment['id'], kept, sample_input(document))}")
