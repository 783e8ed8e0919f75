"""All workspaces and keys as they are now, in memory: what verification looks at. No I/O.

A key costs about a kilobyte. Of deleted ones only the place on their subject is kept, so that an older message,
which may come by another way, does not bring them back.
"""

import hmac
from collections import defaultdict
from datetime import datetime
from typing import Literal

from libs.events.auth_calls import Principal
from libs.events.managed import Change, Key, KeySecret, Workspace

Outcome = Literal["accepted", "unknown", "expired", "inactive"]


class Directory:
    """Takes changes in any order and keeps the newest of each thing."""

    def __init__(self) -> None:
        self._sequences: dict[str, int] = {}
        self._workspaces: dict[str, Workspace] = {}
        self._keys: dict[str, dict[str, Key]] = defaultdict(dict)
        self._by_hash: dict[str, Key] = {}
        self.size = 0
        """How many keys there are, active or not."""

    def apply(self, subject: str, sequence: int, change: Change) -> bool:
        """Take a change; False where it, or a newer one, was taken before."""
        if self._sequences.get(subject, 0) >= sequence:
            return False
        self._sequences[subject] = sequence
        match change.state:
            case Workspace() as workspace:
                self._workspaces[workspace.id] = workspace
            case Key() as key:
                self._replace(key)
            case _:
                raise ValueError(f"{subject} is not about a key or a workspace")
        return True

    def workspace(self, workspace_id: str) -> Workspace | None:
        """A workspace by its id."""
        return self._workspaces.get(workspace_id)

    def key(self, workspace_id: str, key_id: str) -> Key | None:
        """A key that is not deleted, by its id and the workspace that it must be in."""
        return self._keys[workspace_id].get(key_id) if workspace_id in self._keys else None

    def keys(self, workspace_id: str) -> list[Key]:
        """The workspace's keys that are not deleted, in no particular order."""
        return list(self._keys[workspace_id].values()) if workspace_id in self._keys else []

    def knows(self, digest: str) -> bool:
        """Whether some key, valid or not, has this keyed hash."""
        return digest in self._by_hash

    def identify(self, digest: str, now: datetime) -> tuple[Outcome, Principal | None]:
        """Whose key has this keyed hash, and whether it is valid at `now`."""
        key = self._by_hash.get(digest)
        workspace = self._workspaces.get(key.workspace) if key else None
        secret = _secret_of(key, digest) if key else None
        if key is None or workspace is None or secret is None:
            return "unknown", None
        ends = [moment for moment in (key.expires_at, secret.valid_until) if moment is not None]
        if any(moment <= now for moment in ends):
            return "expired", None
        if not key.active:
            return "inactive", None
        principal = Principal(
            key_id=key.id,
            workspace=workspace.id,
            permissions=key.permissions,
            plan=workspace.plan,
            limits=workspace.limits,
            deployment_ids=key.deployment_ids,
            root=workspace.root,
            valid_until=min(ends, default=None),
        )
        return "accepted", principal

    def _replace(self, key: Key) -> None:
        before = self._keys[key.workspace].pop(key.id, None)
        if before is not None:
            self.size -= 1
            for secret in before.secrets:
                self._by_hash.pop(secret.hash, None)
        if not key.deleted:
            self.size += 1
            self._keys[key.workspace][key.id] = key
            self._by_hash.update({secret.hash: key for secret in key.secrets})


def _secret_of(key: Key, digest: str) -> KeySecret | None:
    return next((secret for secret in key.secrets if hmac.compare_digest(secret.hash, digest)), None)
