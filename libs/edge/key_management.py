"""The calls that manage keys and workspaces, as functions: each sends a command to auth and returns its answer.

All raise Refusal (its `code` and `pointer` say why), or Unavailable, after which it is not known whether the command
was obeyed. So none is sent twice here.
"""

from typing import TypeVar

from libs.edge.callers import ask
from libs.events.auth_calls import (
    MANAGE,
    Actor,
    ChangeKey,
    ChangeWorkspace,
    Command,
    CreateKey,
    CreateWorkspace,
    DeleteKey,
    GetKey,
    IssueDeploymentKey,
    IssuedKey,
    KeyPage,
    KeyPatch,
    KeyView,
    ListKeys,
    MadeWorkspace,
    Managed,
    NewKey,
    NewWorkspace,
    Principal,
    RotateKey,
    Rotation,
    WithdrawDeploymentKey,
    WorkspacePatch,
    WorkspaceView,
)
from libs.events.broker import Broker

_TIMEOUT_SECONDS = 10.0

T = TypeVar("T")


def actor_of(caller: Principal, address: str | None) -> Actor:
    """The caller as the giver of commands, for the audit with the address that it called from."""
    return Actor(key_id=caller.key_id, workspace=caller.workspace, address=address)


async def create_key(broker: Broker, actor: Actor, wish: NewKey) -> IssuedKey:
    """A new key of the actor's workspace, with its text."""
    return await _order(broker, actor, CreateKey(wish=wish), IssuedKey)


async def list_keys(broker: Broker, actor: Actor, *, limit: int, cursor: str | None = None) -> KeyPage:
    """The workspace's keys, newest first, `limit` (1 to 100) at a time."""
    return await _order(broker, actor, ListKeys(limit=limit, cursor=cursor), KeyPage)


async def get_key(broker: Broker, actor: Actor, key_id: str) -> KeyView:
    """One key of the workspace."""
    return await _order(broker, actor, GetKey(key_id=key_id), KeyView)


async def change_key(broker: Broker, actor: Actor, key_id: str, patch: KeyPatch) -> KeyView:
    """A key renamed, deactivated or activated."""
    return await _order(broker, actor, ChangeKey(key_id=key_id, patch=patch), KeyView)


async def rotate_key(broker: Broker, actor: Actor, key_id: str, wish: Rotation) -> IssuedKey:
    """A key with a new text; the earlier ones work until the grace ends."""
    return await _order(broker, actor, RotateKey(key_id=key_id, wish=wish), IssuedKey)


async def delete_key(broker: Broker, actor: Actor, key_id: str) -> None:
    """A key revoked for good."""
    await _order(broker, actor, DeleteKey(key_id=key_id), type(None))


async def issue_deployment_key(broker: Broker, actor: Actor, deployment_id: str, name: str) -> IssuedKey:
    """The key of a new deployment; `write` is enough. Its id belongs in the deployment's `key_id`."""
    return await _order(broker, actor, IssueDeploymentKey(deployment_id=deployment_id, name=name), IssuedKey)


async def withdraw_deployment_key(broker: Broker, actor: Actor, deployment_id: str) -> None:
    """Delete a deployment's own key, if there is one left; `write` is enough."""
    await _order(broker, actor, WithdrawDeploymentKey(deployment_id=deployment_id), type(None))


async def create_workspace(broker: Broker, actor: Actor, wish: NewWorkspace) -> MadeWorkspace:
    """A new workspace with its first key; only the root admin."""
    return await _order(broker, actor, CreateWorkspace(wish=wish), MadeWorkspace)


async def change_workspace(broker: Broker, actor: Actor, workspace_id: str, patch: WorkspacePatch) -> WorkspaceView:
    """Another plan or other limits for a workspace; only the root admin."""
    return await _order(broker, actor, ChangeWorkspace(workspace_id=workspace_id, patch=patch), WorkspaceView)


async def _order(broker: Broker, actor: Actor, command: Command, answer: type[T]) -> T:
    return await ask(broker, MANAGE, Managed(actor=actor, command=command), answer, _TIMEOUT_SECONDS)
