"""Keys and workspaces. The auth service decides and records; the gateway only carries the wish and the answer."""

from typing import Any

from libs.edge import key_management
from libs.edge.routes import Call, Reply, Route
from libs.events.auth_calls import (
    IssuedKey,
    KeyPage,
    KeyPatch,
    KeyView,
    MadeWorkspace,
    NewKey,
    NewWorkspace,
    Rotation,
    WorkspacePatch,
    WorkspaceView,
)
from services.gateway.paging import PageQuery
from services.gateway.state import Gateway


async def create_key(call: Call[Gateway]) -> Reply:
    """Make a key. It is shown in this answer and never again."""
    issued = await key_management.create_key(call.app.broker, call.actor, call.body)
    return Reply(status=201, body=issued, headers={"Location": f"/v1/keys/{issued.id}"})


async def list_keys(call: Call[Gateway]) -> Reply:
    """The workspace's keys, newest first, masked."""
    query: PageQuery = call.query
    found = await key_management.list_keys(call.app.broker, call.actor, limit=query.limit, cursor=query.cursor)
    return Reply(body=found)


async def get_key(call: Call[Gateway]) -> Reply:
    """One key, masked."""
    return Reply(body=await key_management.get_key(call.app.broker, call.actor, call.path("key_id")))


async def change_key(call: Call[Gateway]) -> Reply:
    """Rename a key, deactivate or activate it."""
    found = await key_management.change_key(call.app.broker, call.actor, call.path("key_id"), call.body)
    return Reply(body=found)


async def rotate_key(call: Call[Gateway]) -> Reply:
    """Give a key a new secret; the old one works for `grace_seconds` more."""
    issued = await key_management.rotate_key(call.app.broker, call.actor, call.path("key_id"), call.body)
    return Reply(body=issued)


async def delete_key(call: Call[Gateway]) -> Reply:
    """Revoke a key for good."""
    await key_management.delete_key(call.app.broker, call.actor, call.path("key_id"))
    return Reply(status=204)


async def create_workspace(call: Call[Gateway]) -> Reply:
    """Make a workspace, with an admin key that is shown in this answer and never again."""
    made = await key_management.create_workspace(call.app.broker, call.actor, call.body)
    return Reply(status=201, body=made)


async def change_workspace(call: Call[Gateway]) -> Reply:
    """Give a workspace another plan or other limits."""
    workspace_id = call.path("workspace_id")
    return Reply(body=await key_management.change_workspace(call.app.broker, call.actor, workspace_id, call.body))


def _route(method: str, path: str, handler: Any, summary: str, **more: Any) -> Route:
    return Route(method=method, path=path, handler=handler, summary=summary, tag="keys", permission="admin", **more)


ROUTES = (
    _route("POST", "/v1/keys", create_key, "Make a key", body=NewKey, answer=IssuedKey, status=201),
    _route("GET", "/v1/keys", list_keys, "List keys", query=PageQuery, answer=KeyPage),
    _route("GET", "/v1/keys/{key_id}", get_key, "One key", answer=KeyView),
    _route("PATCH", "/v1/keys/{key_id}", change_key, "Change a key", body=KeyPatch, answer=KeyView),
    _route("POST", "/v1/keys/{key_id}/rotate", rotate_key, "Rotate a key", body=Rotation, answer=IssuedKey),
    _route("DELETE", "/v1/keys/{key_id}", delete_key, "Revoke a key", status=204),
    _route(
        "POST",
        "/v1/workspaces",
        create_workspace,
        "Make a workspace",
        body=NewWorkspace,
        answer=MadeWorkspace,
        status=201,
    ),
    _route(
        "PATCH",
        "/v1/workspaces/{workspace_id}",
        change_workspace,
        "Change a workspace",
        body=WorkspacePatch,
        answer=WorkspaceView,
    ),
)
