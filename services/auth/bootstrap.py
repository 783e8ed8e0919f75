"""The root workspace and the operator's admin key, as every start finds or makes them.

The admin key of the environment is compared with the one that the environment gave last, not with the key as
it is: so an operator who gives another one replaces it, while a key that was rotated, deactivated or deleted
through the API does not come back to life because a process restarted with the old environment.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

from libs.events.appends import Conflict
from libs.events.auth_calls import is_key_shaped
from libs.events.managed import Change, Key, KeySecret, Limits, Workspace, decode_change, recall, subject_of
from libs.events.reads import read_range
from libs.events.subjects import MANAGEMENT, managed_subject
from libs.runtime.secrets import keyed_hash
from services.auth.key_text import mask
from services.auth.replica import Replica

ROOT_WORKSPACE = "ws_root"
ROOT_KEY = "key_root"
GIVEN = "key.bootstrapped"
"""The type of the event that takes an admin key from the environment."""

_BY = "auth"
_TRIES = 20


async def bootstrap(replica: Replica, pepper: bytes, admin_key: str, now: datetime) -> None:
    """See to it that the root workspace exists and that `admin_key`, unless it is empty, opens it.

    May run in several processes at the same time. ValueError when the admin key cannot be one.
    """
    if admin_key and not is_key_shaped(admin_key):
        raise ValueError("HEADGATE_ADMIN_KEY must be `sk-` and 29 to 253 visible ASCII characters")
    for _ in range(_TRIES):
        try:
            await _root_workspace(replica, now)
            if admin_key:
                await _admin_key(replica, keyed_hash(pepper, admin_key), mask(admin_key), now)
        except Conflict:
            await asyncio.sleep(0.05)
        else:
            return
    raise TimeoutError("the root workspace is being changed by others all the time")


def decide_admin_key(history: Sequence[Change], digest: str, masked: str, now: datetime) -> Change | None:
    """The event by which the environment's admin key becomes valid; None where it was taken already."""
    given = [change.state for change in history if change.type == GIVEN]
    last = given[-1] if given else None
    if isinstance(last, Key) and last.secrets[0].hash == digest:
        return None
    key = Key(
        id=ROOT_KEY,
        workspace=ROOT_WORKSPACE,
        name="admin",
        masked=masked,
        permissions=("admin",),
        created_at=now if last is None or not isinstance(last, Key) else last.created_at,
        secrets=(KeySecret(hash=digest),),
    )
    return Change(type=GIVEN, at=now, by=_BY, state=key)


async def _root_workspace(replica: Replica, now: datetime) -> None:
    root = Workspace(id=ROOT_WORKSPACE, name="root", plan="enterprise", limits=Limits(), created_at=now, root=True)
    subject = subject_of(ROOT_WORKSPACE, root)
    recorded = await recall(replica.broker, subject)
    if recorded is None:
        change = Change(type="workspace.created", at=now, by=_BY, state=root)
        await replica.store(subject, change, after=0)
    else:
        await replica.take(subject, recorded.sequence, recorded.change)


async def _admin_key(replica: Replica, digest: str, masked: str, now: datetime) -> None:
    subject = managed_subject(ROOT_WORKSPACE, "key", ROOT_KEY)
    messages = await read_range(replica.broker, MANAGEMENT, subject, 1)
    history = [decode_change(message.payload) for message in messages]
    change = decide_admin_key(history, digest, masked, now)
    if change is not None:
        await replica.store(subject, change, after=messages[-1].sequence if messages else 0)
    elif messages:
        await replica.take(subject, messages[-1].sequence, history[-1])
