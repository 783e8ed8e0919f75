"""Workspaces, keys and askers for decisions that need no broker."""

from datetime import UTC, datetime

from msgspec.structs import replace

from libs.events.managed import Key, KeySecret, Limits, Permission, Workspace
from services.auth.asking import Asking
from services.auth.key_text import FreshKey, fresh_key, new_key_id

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PEPPER = b"pepper" * 8
WORKSPACE = Workspace(id="ws_1", name="One", plan="free", limits=Limits(concurrent_runs=4), created_at=NOW)
ROOT = replace(WORKSPACE, id="ws_root", name="root", root=True)


def sample_key(*permissions: Permission, bound_to: tuple[str, ...] = (), digest: str = "ab") -> Key:
    """A key of `WORKSPACE`."""
    return Key(
        id="key_sample",
        workspace=WORKSPACE.id,
        name="Sample",
        masked="sk-aaaaa********bbbbb",
        permissions=permissions or ("admin",),
        created_at=NOW,
        secrets=(KeySecret(hash=digest),),
        deployment_ids=bound_to,
    )


def asking(*permissions: Permission, bound_to: tuple[str, ...] = (), workspace: Workspace = WORKSPACE) -> Asking:
    """Somebody whose key has these rights; an admin without any."""
    key = replace(sample_key(*permissions, bound_to=bound_to), workspace=workspace.id)
    return Asking(key=key, workspace=workspace, address="192.0.2.7", now=NOW)


def fresh() -> FreshKey:
    """A secret that was just made."""
    return fresh_key(PEPPER, new_key_id())
