"""Workspaces, their plans and limits, decided without I/O as in `keys`."""

from msgspec import UNSET
from msgspec.structs import asdict, replace

from libs.events.auth_calls import LimitsPatch, MadeWorkspace, NewWorkspace, WorkspacePatch, WorkspaceView
from libs.events.managed import Change, Key, KeySecret, Limits, Plan, Workspace
from services.auth.asking import Asking, changed, require, require_root
from services.auth.key_text import FreshKey
from services.auth.keys import Decision
from services.auth.refusals import invalid, not_found, read_name

PLANS: dict[Plan, Limits] = {
    "free": Limits(concurrent_runs=4, monthly_requests=1_000),
    "pro": Limits(concurrent_runs=20, monthly_requests=10_000),
    "enterprise": Limits(),
}
MAX_LIMIT = 1_000_000_000


def decide_create(
    asking: Asking, wish: NewWorkspace, workspace_id: str, fresh: FreshKey
) -> tuple[Change, Change, MadeWorkspace]:
    """A new workspace, by the root admin: the events of its first key and of itself, and what is shown once."""
    require_root(asking)
    plan = _read_plan(wish.plan)
    workspace = Workspace(
        id=workspace_id,
        name=read_name(wish.name),
        plan=plan,
        limits=_patched(PLANS[plan], wish.limits or LimitsPatch()),
        created_at=asking.now,
    )
    key = Key(
        id=fresh.id,
        workspace=workspace_id,
        name="admin",
        masked=fresh.masked,
        permissions=("admin",),
        created_at=asking.now,
        secrets=(KeySecret(hash=fresh.hash),),
    )
    made = MadeWorkspace(**asdict(view(workspace)), admin_key=fresh.text)
    return changed(asking, "key.created", key), changed(asking, "workspace.created", workspace), made


def decide_change(
    asking: Asking, workspace_id: str, existing: Workspace | None, patch: WorkspacePatch
) -> Decision[WorkspaceView]:
    """Another plan, which brings its limits, other limits, or both. By the root admin.

    To everybody else a workspace that is not their own does not exist.
    """
    require(asking, "admin")
    if existing is None or (workspace_id != asking.workspace.id and not asking.workspace.root):
        raise not_found("workspace")
    require_root(asking)
    if patch == WorkspacePatch():
        raise invalid("", "give at least one of `plan` and `limits`")
    plan = existing.plan if patch.plan is UNSET else _read_plan(patch.plan)
    limits = existing.limits if patch.plan is UNSET else PLANS[plan]
    if patch.limits is not UNSET:
        limits = _patched(limits, patch.limits)
    after = replace(existing, plan=plan, limits=limits)
    return (None if after == existing else changed(asking, "workspace.changed", after)), view(after)


def view(workspace: Workspace) -> WorkspaceView:
    """The workspace as it is shown."""
    return WorkspaceView(
        id=workspace.id,
        name=workspace.name,
        plan=workspace.plan,
        limits=workspace.limits,
        created_at=workspace.created_at,
    )


def _read_plan(name: str) -> Plan:
    for plan in PLANS:
        if name == plan:
            return plan
    raise invalid("/plan", f"must be one of {', '.join(PLANS)}")


def _patched(limits: Limits, patch: LimitsPatch) -> Limits:
    values = {name: getattr(patch, name) for name in LimitsPatch.__struct_fields__}
    given = {name: value for name, value in values.items() if value is not UNSET}
    for name, value in given.items():
        if value is not None and not 1 <= value <= MAX_LIMIT:
            raise invalid(f"/limits/{name}", f"must be from 1 to {MAX_LIMIT}, or null for no limit")
    return replace(limits, **given)
