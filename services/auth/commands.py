"""Commands: read what it is about from the stream's leader, decide, record with compare-and-set, answer.

A command that meets another one on the same thing decides again on what that one left.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from libs.events.appends import Conflict
from libs.events.auth_calls import (
    Actor,
    ChangeKey,
    ChangeWorkspace,
    CreateKey,
    CreateWorkspace,
    DeleteKey,
    GetKey,
    IssueDeploymentKey,
    KeyView,
    ListKeys,
    MadeWorkspace,
    Managed,
    RotateKey,
    WithdrawDeploymentKey,
    WorkspaceView,
)
from libs.events.managed import Change, Key, State, Workspace, recall
from libs.events.subjects import managed_subject
from libs.runtime.ids import is_token, new_id
from services.auth import keys, workspaces
from services.auth.asking import Asking, require
from services.auth.key_text import deployment_key_id, fresh_key, new_key_id
from services.auth.listing import page
from services.auth.refusals import Refusal, not_found, unauthorized
from services.auth.replica import Replica

_TRIES = 8

T = TypeVar("T")


class Commands:
    """Carries commands out. `pepper` hashes the keys that are made."""

    def __init__(self, replica: Replica, pepper: bytes) -> None:
        self._replica = replica
        self._pepper = pepper

    async def obey(self, managed: Managed) -> object:
        """What the command's class says it is answered by. Refusal, Unavailable."""
        asking = self._asking(managed.actor)
        match managed.command:
            case CreateKey(wish=wish):
                fresh = fresh_key(self._pepper, new_key_id())
                return await self._key(asking, fresh.id, lambda key: keys.decide_create(asking, key, wish, fresh))
            case ListKeys(limit=limit, cursor=cursor):
                require(asking, "admin")
                return page(self._replica.directory.keys(asking.workspace.id), limit, cursor)
            case GetKey(key_id=key_id):
                return await self._get(asking, key_id)
            case ChangeKey(key_id=key_id, patch=patch):
                return await self._key(asking, key_id, lambda key: keys.decide_change(asking, key, patch))
            case RotateKey(key_id=key_id, wish=rotation):
                fresh = fresh_key(self._pepper, key_id)
                return await self._key(asking, key_id, lambda key: keys.decide_rotate(asking, key, rotation, fresh))
            case DeleteKey(key_id=key_id):
                return await self._key(asking, key_id, lambda key: keys.decide_delete(asking, key))
            case IssueDeploymentKey(deployment_id=deployment_id, name=name):
                fresh = fresh_key(self._pepper, deployment_key_id(deployment_id))
                return await self._key(
                    asking, fresh.id, lambda key: keys.decide_issue(asking, key, deployment_id, name, fresh)
                )
            case WithdrawDeploymentKey(deployment_id=deployment_id):
                key_id = deployment_key_id(deployment_id)
                return await self._key(asking, key_id, lambda key: keys.decide_withdraw(asking, key))
            case CreateWorkspace() as command:
                return await self._create_workspace(asking, command)
            case ChangeWorkspace() as command:
                return await self._change_workspace(asking, command)

    def _asking(self, actor: Actor) -> Asking:
        """The actor by what is known here: nobody's word is taken for what a key may do."""
        now = datetime.now(UTC)
        key = self._replica.directory.key(actor.workspace, actor.key_id)
        workspace = self._replica.directory.workspace(actor.workspace)
        if key is None or workspace is None or not key.active or (key.expires_at and key.expires_at <= now):
            raise unauthorized()
        return Asking(key=key, workspace=workspace, address=actor.address, now=now)

    async def _get(self, asking: Asking, key_id: str) -> KeyView:
        require(asking, "admin")
        recorded = await recall(self._replica.broker, _key_subject(asking, key_id))
        if recorded is None or not isinstance(recorded.change.state, Key) or recorded.change.state.deleted:
            raise not_found("key")
        return keys.view(recorded.change.state)

    async def _key(self, asking: Asking, key_id: str, decide: Callable[[Key | None], tuple[Change | None, T]]) -> T:
        def on_state(state: State | None) -> tuple[Change | None, T]:
            return decide(state if isinstance(state, Key) else None)

        return await self._decide(_key_subject(asking, key_id), on_state)

    async def _create_workspace(self, asking: Asking, command: CreateWorkspace) -> MadeWorkspace:
        """The key first: it opens nothing before its workspace is there, and no workspace is without one."""
        fresh = fresh_key(self._pepper, new_key_id())
        key, workspace, made = workspaces.decide_create(asking, command.wish, new_id("ws"), fresh)
        await self._replica.store(managed_subject(made.id, "key", fresh.id), key, after=0)
        await self._replica.store(managed_subject(made.id, "workspace", made.id), workspace, after=0)
        return made

    async def _change_workspace(self, asking: Asking, command: ChangeWorkspace) -> WorkspaceView:
        workspace_id = command.workspace_id

        def on_state(state: State | None) -> tuple[Change | None, WorkspaceView]:
            existing = state if isinstance(state, Workspace) else None
            return workspaces.decide_change(asking, workspace_id, existing, command.patch)

        if not is_token(workspace_id):
            return on_state(None)[1]
        return await self._decide(managed_subject(workspace_id, "workspace", workspace_id), on_state)

    async def _decide(self, subject: str, decide: Callable[[State | None], tuple[Change | None, T]]) -> T:
        for _ in range(_TRIES):
            recorded = await recall(self._replica.broker, subject)
            change, answer = decide(recorded.change.state if recorded else None)
            if change is None:
                return answer
            try:
                await self._replica.store(subject, change, after=recorded.sequence if recorded else 0)
            except Conflict:
                continue
            return answer
        raise Refusal("conflict", "this is being changed by others all the time; try again")


def _key_subject(asking: Asking, key_id: str) -> str:
    """Where the key would lie in the asker's own workspace: another's is never looked at."""
    if not is_token(key_id):
        raise not_found("key")
    return managed_subject(asking.workspace.id, "key", key_id)
