"""A key that this process has not heard of, and that the log has."""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import pytest

from libs.events.auth_calls import VERIFY, Granted, Principal, Refused, Verify
from libs.events.broker import Broker
from libs.events.log import EventLog
from libs.events.managed import Change, Key, KeySecret, Limits, Workspace, record, subject_of
from libs.runtime.ids import new_id
from services.auth.commands import Commands
from services.auth.directory import Directory
from services.auth.key_text import FreshKey, fresh_key, new_key_id, pepper_of
from services.auth.replica import Replica
from services.auth.responder import Responder
from tests.auth.service import MASTER

PEPPER = pepper_of(base64.b64decode(MASTER))
NOW = datetime.now(UTC)


@pytest.fixture
async def deaf(broker: Broker, log: EventLog) -> AsyncIterator[Replica]:
    """A process that answers and follows nothing: whatever it knows it has asked for."""
    replica = Replica(broker, Directory())
    async with Responder(replica, Commands(replica, PEPPER), PEPPER).serving():
        yield replica


async def made(broker: Broker, *, active: bool = True) -> tuple[str, FreshKey]:
    """A workspace and its key, as another process stores them."""
    workspace, fresh = new_id("ws"), fresh_key(PEPPER, new_key_id())
    home = Workspace(id=workspace, name="w", plan="free", limits=Limits(), created_at=NOW)
    key = Key(
        id=fresh.id,
        workspace=workspace,
        name="k",
        masked=fresh.masked,
        permissions=("read",),
        created_at=NOW,
        secrets=(KeySecret(hash=fresh.hash),),
        active=active,
    )
    for state, kind in ((home, "workspace.created"), (key, "key.created")):
        change = Change(type=kind, at=NOW, by="test", state=state)
        await record(broker, subject_of(workspace, state), change, after=0)
    return workspace, fresh


async def verified(broker: Broker, key: str) -> Principal | Refused:
    answer = await broker.request(VERIFY, msgspec.json.encode(Verify(key=key)), timeout=5.0)
    outcome = msgspec.json.decode(answer.data, type=Granted[Principal] | Refused)
    return outcome.answer if isinstance(outcome, Granted) else outcome


async def test_it_is_asked_for_before_it_is_refused(broker: Broker, deaf: Replica) -> None:
    workspace, key = await made(broker)
    for _ in range(2):
        found = await verified(broker, key.text)
        assert isinstance(found, Principal)
        assert (found.workspace, found.key_id) == (workspace, key.id)


async def test_one_that_nobody_made_is_refused_and_so_is_one_that_may_not(broker: Broker, deaf: Replica) -> None:
    _, inactive = await made(broker, active=False)
    unknown = fresh_key(PEPPER, new_key_id())
    _, known = await made(broker)
    wrong_secret = fresh_key(PEPPER, known.id)
    for key in (inactive, unknown, wrong_secret):
        assert await verified(broker, key.text) == await verified(broker, "sk-" + "x" * 50)
