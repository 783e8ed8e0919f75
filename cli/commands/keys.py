"""`headgate keys`: who may do what."""

from typing import Annotated, Any

import typer

from cli.commands.options import Json, Key, Url, run, server

app = typer.Typer(help="List, create, rotate, revoke and delete keys.", no_args_is_help=True)

_KeyId = Annotated[str, typer.Argument(metavar="KEY_ID")]


@app.command("list")
def list_keys(json: Json = False, url: Url = "", key: Key = "") -> None:
    """List the keys of the workspace, masked."""
    run(_list(json, url, key))


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    permissions: Annotated[
        list[str], typer.Option("--permission", "-p", help="read, execute, write or admin; may be repeated.")
    ],
    deployments: Annotated[
        list[str] | None, typer.Option("--deployment", help="Only for this deployment; may be repeated.", metavar="ID")
    ] = None,
    expires_at: Annotated[str, typer.Option(help="RFC 3339, in the future.")] = "",
    json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Make a key; it is shown this once."""
    body: dict[str, Any] = {"name": name, "permissions": permissions}
    body |= {"deployment_ids": deployments} if deployments else {}
    body |= {"expires_at": expires_at} if expires_at else {}
    run(_change("POST", "/v1/keys", body, json, url, key))


@app.command()
def rotate(
    key_id: _KeyId,
    grace_seconds: Annotated[int, typer.Option(min=0, help="How long the old secret still works.")] = 0,
    json: Json = False,
    url: Url = "",
    key: Key = "",
) -> None:
    """Give a key a new secret; it is shown this once."""
    run(_change("POST", f"/v1/keys/{key_id}/rotate", {"grace_seconds": grace_seconds}, json, url, key))


@app.command()
def revoke(key_id: _KeyId, json: Json = False, url: Url = "", key: Key = "") -> None:
    """Deactivate a key: every gateway refuses it within a second. It stays in the list."""
    run(_change("PATCH", f"/v1/keys/{key_id}", {"active": False}, json, url, key))


@app.command()
def delete(key_id: _KeyId, json: Json = False, url: Url = "", key: Key = "") -> None:
    """Delete a key for good."""
    run(_change("DELETE", f"/v1/keys/{key_id}", None, json, url, key))


async def _list(json: bool, url: str, key: str) -> None:
    from cli.output import day_and_time, print_json, print_table

    async with server(url, key) as api:
        keys = [each async for each in api.pages("/v1/keys")]
    if json:
        print_json({"data": keys})
        return
    rows = [
        [
            each["id"],
            each["masked"],
            each["name"],
            ",".join(each["permissions"]),
            "active" if each["active"] else "revoked",
            day_and_time(each["created_at"]),
        ]
        for each in keys
    ]
    print_table(["ID", "KEY", "NAME", "PERMISSIONS", "STATUS", "CREATED"], rows, empty="No keys.")


async def _change(method: str, path: str, body: object, json: bool, url: str, key: str) -> None:
    from cli.output import print_facts, print_json

    async with server(url, key) as api:
        answer = await api.call(method, path, body=body)
    if json:
        print_json(answer if answer is not None else {"deleted": True})
    elif answer is None:
        print("deleted")
    else:
        secret = {"key": f"{answer['key']}  (shown this once)"} if "key" in answer else {}
        print_facts({name: answer.get(name) for name in ("id", "name", "masked", "permissions", "active")} | secret)
