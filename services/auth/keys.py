"""Keys: what may be done with them, decided without I/O.

Each `decide_…` takes who asks, the key as it is (None: there is none), and what is wanted. It answers the event
to record, None where nothing changes, and what the asker is told. It raises Refusal.
"""

from datetime import UTC, datetime, timedelta
from typing import TypeVar, get_args

import msgspec
from msgspec import UNSET
from msgspec.structs import asdict, replace

from libs.events.auth_calls import IssuedKey, KeyPatch, KeyView, NewKey, Rotation
from libs.events.managed import Change, Key, KeySecret, Permission
from libs.runtime.ids import is_token
from services.auth.asking import Asking, changed, require, require_reach
from services.auth.key_text import FreshKey
from services.auth.refusals import Refusal, invalid, not_found, read_name

PERMISSIONS: tuple[Permission, ...] = get_args(Permission)
MAX_DEPLOYMENTS = 100
MAX_GRACE_SECONDS = 7 * 24 * 3600
MAX_SECRETS = 8
"""How many secrets of one key may work at the same time."""

T = TypeVar("T")
Decision = tuple[Change | None, T]


def decide_create(asking: Asking, existing: Key | None, wish: NewKey, fresh: FreshKey) -> Decision[IssuedKey]:
    """A new key of the asker's workspace, with no more rights than the asker's."""
    require(asking, "admin")
    key = Key(
        id=fresh.id,
        workspace=asking.workspace.id,
        name=read_name(wish.name),
        masked=fresh.masked,
        permissions=_read_permissions(wish.permissions),
        created_at=asking.now,
        secrets=(KeySecret(hash=fresh.hash),),
        deployment_ids=_read_deployments(wish.deployment_ids or ()),
        expires_at=_read_expiry(wish.expires_at, asking.now),
    )
    require_reach(asking, key.deployment_ids)
    return _create(asking, existing, key, fresh)


def decide_issue(
    asking: Asking, existing: Key | None, deployment_id: str, name: str, fresh: FreshKey
) -> Decision[IssuedKey]:
    """The key of a new deployment: `execute`, for that deployment alone."""
    require(asking, "write")
    deployment_ids = _read_deployments((deployment_id,))
    require_reach(asking, deployment_ids)
    key = Key(
        id=fresh.id,
        workspace=asking.workspace.id,
        name=read_name(name),
        masked=fresh.masked,
        permissions=("execute",),
        created_at=asking.now,
        secrets=(KeySecret(hash=fresh.hash),),
        deployment_ids=deployment_ids,
    )
    return _create(asking, existing, key, fresh)


def decide_change(asking: Asking, existing: Key | None, patch: KeyPatch) -> Decision[KeyView]:
    """A key renamed, deactivated, or activated again."""
    key = _managed(asking, existing)
    if patch == KeyPatch():
        raise invalid("", "give at least one of `active` and `name`")
    after = replace(
        key,
        name=key.name if patch.name is UNSET else read_name(patch.name),
        active=key.active if patch.active is UNSET else patch.active,
    )
    return (None if after == key else changed(asking, "key.changed", after)), view(after)


def decide_rotate(asking: Asking, existing: Key | None, wish: Rotation, fresh: FreshKey) -> Decision[IssuedKey]:
    """A new secret. All earlier ones end with the grace, or at the end they already have."""
    key = _managed(asking, existing)
    if not 0 <= wish.grace_seconds <= MAX_GRACE_SECONDS:
        raise invalid("/grace_seconds", f"must be from 0 to {MAX_GRACE_SECONDS}")
    grace_ends = asking.now + timedelta(seconds=wish.grace_seconds)
    earlier = [replace(secret, valid_until=min(secret.valid_until or grace_ends, grace_ends)) for secret in key.secrets]
    kept = [secret for secret in earlier if secret.valid_until and secret.valid_until > asking.now]
    if len(kept) >= MAX_SECRETS:
        raise Refusal("conflict", f"{MAX_SECRETS} secrets of this key still work; rotate with a shorter grace")
    after = replace(key, secrets=(KeySecret(hash=fresh.hash), *kept), masked=fresh.masked)
    return changed(asking, "key.rotated", after), issued(after, fresh)


def decide_delete(asking: Asking, existing: Key | None) -> Decision[None]:
    """A key revoked for good."""
    key = _managed(asking, existing)
    return changed(asking, "key.deleted", _deleted(key)), None


def decide_withdraw(asking: Asking, existing: Key | None) -> Decision[None]:
    """A deployment's own key, gone with it; where it is gone already nothing is left to do."""
    require(asking, "write")
    if existing is None or existing.deleted:
        return None, None
    require_reach(asking, existing.deployment_ids)
    return changed(asking, "key.deleted", _deleted(existing)), None


def view(key: Key) -> KeyView:
    """The key as it is shown."""
    return KeyView(
        id=key.id,
        masked=key.masked,
        name=key.name,
        permissions=key.permissions,
        deployment_ids=key.deployment_ids,
        active=key.active,
        created_at=key.created_at,
        expires_at=key.expires_at,
    )


def issued(key: Key, fresh: FreshKey) -> IssuedKey:
    """The key as it is shown this once, with its text."""
    return IssuedKey(**asdict(view(key)), key=fresh.text)


def _create(asking: Asking, existing: Key | None, key: Key, fresh: FreshKey) -> Decision[IssuedKey]:
    if existing is not None:
        raise Refusal("conflict", "there is, or was, a key of this id")
    return changed(asking, "key.created", key), issued(key, fresh)


def _managed(asking: Asking, existing: Key | None) -> Key:
    """The key that is to be changed, where the asker may change it."""
    require(asking, "admin")
    if existing is None or existing.deleted:
        raise not_found("key")
    require_reach(asking, existing.deployment_ids)
    return existing


def _deleted(key: Key) -> Key:
    return replace(key, deleted=True, active=False, secrets=())


def _read_permissions(names: tuple[str, ...]) -> tuple[Permission, ...]:
    if not names:
        raise invalid("/permissions", "must name at least one right")
    for index, name in enumerate(names):
        if name not in PERMISSIONS:
            raise invalid(f"/permissions/{index}", f"must be one of {', '.join(PERMISSIONS)}")
    return tuple(permission for permission in PERMISSIONS if permission in names)


def _read_deployments(ids: tuple[str, ...]) -> tuple[str, ...]:
    if len(ids) > MAX_DEPLOYMENTS:
        raise invalid("/deployment_ids", f"must name at most {MAX_DEPLOYMENTS} deployments")
    for index, deployment_id in enumerate(ids):
        if not is_token(deployment_id):
            raise invalid(f"/deployment_ids/{index}", "is not the id of a deployment")
    return tuple(dict.fromkeys(ids))


def _read_expiry(text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        expires_at = msgspec.convert(text, datetime)
        if expires_at.tzinfo is None:
            raise invalid("/expires_at", "must say its offset from UTC, or `Z`")
        expires_at = expires_at.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        raise invalid("/expires_at", "must be a date and time by RFC 3339") from None
    if expires_at <= now:
        raise invalid("/expires_at", "must be in the future")
    return expires_at
