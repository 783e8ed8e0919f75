"""What may be asked of the auth service, what it answers, and what it announces. Shared by both sides.

    auth.verify    `Verify`, answered by `Principal` or `Refused`
    auth.manage    `Managed`: a command, and who gives it; answered by what the command's class says, or `Refused`
    auth.changed   `Changed`, from every auth process to everybody, once it has applied a change

The first two are served by the queue group `QUEUE`. Every answer is `Granted` or `Refused`; none is no answer.
"""

import re
from collections.abc import Collection
from datetime import datetime
from typing import Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from libs.events.managed import Change, Limits, Permission, Plan
from libs.events.subjects import auth_subject

VERIFY = auth_subject("verify")
MANAGE = auth_subject("manage")
CHANGED = auth_subject("changed")
QUEUE = "auth"

UNKNOWN_KEY = "the API key is unknown, expired or revoked"
"""One answer for each of these: which one it was is nobody's business who does not hold the key."""

_KEY = re.compile(r"sk-[!-~]{29,253}")

T = TypeVar("T")


def is_key_shaped(text: str) -> bool:
    """Whether `text` can be a key at all: `sk-` and visible ASCII, 32 to 256 characters together."""
    return _KEY.fullmatch(text) is not None


def allows(permissions: Collection[str], permission: Permission) -> bool:
    """Whether `permissions` hold a right; `admin` implies all, otherwise each is its own."""
    return permission in permissions or "admin" in permissions


class Verify(msgspec.Struct, frozen=True, kw_only=True):
    """Whose key is this?"""

    key: str


class Principal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """On whose behalf a request is made, and what its key allows."""

    key_id: str
    workspace: str
    permissions: tuple[Permission, ...]
    plan: Plan
    limits: Limits
    deployment_ids: tuple[str, ...] = ()
    """Empty: every deployment of the workspace."""
    root: bool = False
    """Whether the workspace is the one that the installation came with."""
    valid_until: datetime | None = None
    """When this key text ends by itself: the key expires, or it was rotated and its grace ends."""


class Actor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who gives a command, and from which address. Auth looks the key's rights up itself."""

    key_id: str
    workspace: str
    address: str | None = None


class _Wish(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A body as callers write it: a field that we do not know is a mistake of theirs, not to be passed over."""


class NewKey(_Wish, frozen=True, kw_only=True):
    name: str
    permissions: tuple[str, ...]
    deployment_ids: tuple[str, ...] | None = None
    expires_at: str | None = None
    """RFC 3339, in the future."""


class KeyPatch(_Wish, frozen=True, kw_only=True):
    active: bool | UnsetType = UNSET
    name: str | UnsetType = UNSET


class Rotation(_Wish, frozen=True, kw_only=True):
    grace_seconds: int = 0
    """How long the earlier secrets go on working: 0 to 604,800 (a week)."""


class LimitsPatch(_Wish, frozen=True, kw_only=True):
    """What is left out stays as it is, or as the plan says; null: unlimited."""

    concurrent_runs: int | UnsetType | None = UNSET
    monthly_requests: int | UnsetType | None = UNSET
    requests_per_second: int | UnsetType | None = UNSET


class NewWorkspace(_Wish, frozen=True, kw_only=True):
    name: str
    plan: str
    limits: LimitsPatch | None = None


class WorkspacePatch(_Wish, frozen=True, kw_only=True):
    plan: str | UnsetType = UNSET
    limits: LimitsPatch | UnsetType = UNSET


class CreateKey(msgspec.Struct, frozen=True, kw_only=True, tag="create_key", tag_field="call"):
    """Answered by IssuedKey."""

    wish: NewKey


class ListKeys(msgspec.Struct, frozen=True, kw_only=True, tag="list_keys", tag_field="call"):
    """Newest first, 1 to 100 at a time. Answered by KeyPage."""

    limit: int
    cursor: str | None = None


class GetKey(msgspec.Struct, frozen=True, kw_only=True, tag="get_key", tag_field="call"):
    """Answered by KeyView."""

    key_id: str


class ChangeKey(msgspec.Struct, frozen=True, kw_only=True, tag="change_key", tag_field="call"):
    """Answered by KeyView."""

    key_id: str
    patch: KeyPatch


class RotateKey(msgspec.Struct, frozen=True, kw_only=True, tag="rotate_key", tag_field="call"):
    """Answered by IssuedKey."""

    key_id: str
    wish: Rotation


class DeleteKey(msgspec.Struct, frozen=True, kw_only=True, tag="delete_key", tag_field="call"):
    """Answered by None."""

    key_id: str


class IssueDeploymentKey(msgspec.Struct, frozen=True, kw_only=True, tag="issue_deployment_key", tag_field="call"):
    """Give a new deployment its own key, which it has once. Answered by IssuedKey.

    `write` is enough: the key is the deployment's, made with it and gone with it, not its maker's.
    """

    deployment_id: str
    name: str


class WithdrawDeploymentKey(msgspec.Struct, frozen=True, kw_only=True, tag="withdraw_deployment_key", tag_field="call"):
    """Delete a deployment's own key, if there is one left. `write` is enough. Answered by None."""

    deployment_id: str


class CreateWorkspace(msgspec.Struct, frozen=True, kw_only=True, tag="create_workspace", tag_field="call"):
    """Answered by MadeWorkspace."""

    wish: NewWorkspace


class ChangeWorkspace(msgspec.Struct, frozen=True, kw_only=True, tag="change_workspace", tag_field="call"):
    """Answered by WorkspaceView."""

    workspace_id: str
    patch: WorkspacePatch


Command = (
    CreateKey
    | ListKeys
    | GetKey
    | ChangeKey
    | RotateKey
    | DeleteKey
    | IssueDeploymentKey
    | WithdrawDeploymentKey
    | CreateWorkspace
    | ChangeWorkspace
)


class Managed(msgspec.Struct, frozen=True, kw_only=True):
    """A command and who gives it."""

    actor: Actor
    command: Command


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is shown: never its secret."""

    id: str
    masked: str
    name: str
    permissions: tuple[Permission, ...]
    deployment_ids: tuple[str, ...]
    active: bool
    created_at: datetime
    expires_at: datetime | None


class IssuedKey(KeyView, frozen=True, kw_only=True):
    """The one answer that holds the key itself."""

    key: str


class KeyPage(msgspec.Struct, frozen=True, kw_only=True):
    data: tuple[KeyView, ...]
    next_cursor: str | None


class WorkspaceView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    plan: Plan
    limits: Limits
    created_at: datetime


class MadeWorkspace(WorkspaceView, frozen=True, kw_only=True):
    """A new workspace, and its first key, shown this once."""

    admin_key: str


class Granted(msgspec.Struct, Generic[T], frozen=True, kw_only=True, tag="granted", tag_field="outcome"):
    answer: T


class Refused(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="refused", tag_field="outcome"):
    """`code` is one of unauthorized, forbidden, not_found, invalid_input, conflict, unavailable."""

    code: str
    message: str
    pointer: str | None = None
    """JSON pointer (RFC 6901) into the body, for invalid_input."""


class Changed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A change of a key or a workspace, as it lies on the management stream. Empty: anything may have changed."""

    subject: str | None = None
    sequence: int = 0
    change: Change | None = None
