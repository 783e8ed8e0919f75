"""Who asks, with which rights: the part of a decision that does not depend on what is decided about."""

from collections.abc import Collection
from datetime import datetime

import msgspec

from libs.events.auth_calls import allows
from libs.events.managed import Change, Key, Permission, State, Workspace
from services.auth.refusals import Refusal


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """A command's giver as auth itself knows it, and when and from where it was given."""

    key: Key
    workspace: Workspace
    address: str | None
    now: datetime


def require(asking: Asking, permission: Permission) -> None:
    """Refusal `forbidden` unless the key has the right."""
    if not allows(asking.key.permissions, permission):
        raise Refusal("forbidden", f"this key does not have the right `{permission}`")


def require_reach(asking: Asking, deployment_ids: Collection[str]) -> None:
    """Refusal `forbidden` where a key bound to some deployments would give away, or gain, more than those.

    `deployment_ids` are those of the key that is made or managed; empty: all of the workspace.
    """
    bound = set(asking.key.deployment_ids)
    if bound and (not deployment_ids or not bound.issuperset(deployment_ids)):
        raise Refusal("forbidden", "this key is bound to deployments, and so is every key that it makes or changes")


def require_root(asking: Asking) -> None:
    """Refusal `forbidden` unless the key is an admin's of the root workspace."""
    if not asking.workspace.root or asking.key.deployment_ids or not allows(asking.key.permissions, "admin"):
        raise Refusal("forbidden", "only the root workspace's admin makes and changes workspaces")


def changed(asking: Asking, kind: str, state: State) -> Change:
    """The event `kind` of this moment, with whom and where it came from for the audit."""
    return Change(type=kind, at=asking.now, by=asking.key.id, address=asking.address or None, state=state)
