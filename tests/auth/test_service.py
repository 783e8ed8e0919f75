"""The auth service over NATS: one process, or two that share the work."""

import asyncio
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
import pytest

from cli.servers import NatsServer
from libs.edge.callers import Refusal
from libs.edge.key_management import (
    change_key,
    change_workspace,
    create_key,
    create_workspace,
    delete_key,
    get_key,
    issue_deployment_key,
    list_keys,
    rotate_key,
    withdraw_deployment_key,
)
from libs.events.auth_calls import (
    CHANGED,
    MANAGE,
    VERIFY,
    Actor,
    Changed,
    KeyPatch,
    LimitsPatch,
    NewKey,
    NewWorkspace,
    Refused,
    Rotation,
    WorkspacePatch,
)
from libs.events.broker import Broker
from libs.events.managed import Limits, decode_change, recall
from libs.events.reads import read_range
from libs.events.subjects import MANAGEMENT
from tests.auth.service import ADDRESS, ADMIN_KEY, Running, actor_for, running_auth, sign_in

READER = NewKey(name="Reader", permissions=("read",))


async def refusal_of(broker: Broker, key: str) -> str:
    """The code with which a key is refused."""
    with pytest.raises(Refusal) as refusal:
        await sign_in(broker, key)
    return refusal.value.code


async def opens(broker: Broker, key: str) -> bool:
    """Whether the key is valid."""
    try:
        await sign_in(broker, key)
    except Refusal:
        return False
    return True


async def missing_of(session: aiohttp.ClientSession, running: Running) -> list[str]:
    """Which conditions of being ready do not hold."""
    async with session.get(running.url + "/readyz") as response:
        missing: list[str] = (await response.json())["missing"]
        assert response.status == (503 if missing else 200)
        return missing


async def new_workspace(broker: Broker, admin: Actor) -> Actor:
    """The admin of a workspace of the test's own."""
    made = await create_workspace(broker, admin, NewWorkspace(name="Test", plan="free"))
    return await actor_for(broker, made.admin_key)


async def test_the_key_of_the_environment_is_the_root_admins(auth: Running, broker: Broker) -> None:
    principal = await sign_in(broker)
    assert (principal.key_id, principal.workspace, principal.root) == ("key_root", "ws_root", True)
    assert (principal.permissions, principal.plan, principal.limits) == (("admin",), "enterprise", Limits())


async def test_a_new_key_works_at_once_and_is_shown_once(broker: Broker, admin: Actor) -> None:
    made = await create_key(broker, admin, READER)
    principal = await sign_in(broker, made.key)
    assert (principal.key_id, principal.permissions, principal.workspace) == (made.id, ("read",), admin.workspace)
    assert made.masked == f"sk-{made.key[3:8]}********{made.key[-5:]}"
    shown = await get_key(broker, admin, made.id)
    assert msgspec.to_builtins(shown) == {k: v for k, v in msgspec.to_builtins(made).items() if k != "key"}


async def test_a_key_ends_when_it_expires(broker: Broker, admin: Actor) -> None:
    ends = datetime.now(UTC) + timedelta(milliseconds=400)
    wish = NewKey(name="Short", permissions=("read",), expires_at=ends.isoformat())
    made = await create_key(broker, admin, wish)
    assert (await sign_in(broker, made.key)).valid_until == ends
    async with asyncio.timeout(3):
        while await opens(broker, made.key):
            pass
    assert datetime.now(UTC) >= ends


async def test_a_rotated_key_works_in_both_texts_until_the_grace_ends(broker: Broker, admin: Actor) -> None:
    made = await create_key(broker, admin, READER)
    rotated = await rotate_key(broker, admin, made.id, Rotation(grace_seconds=60))
    assert (rotated.id, rotated.key != made.key, rotated.masked != made.masked) == (made.id, True, True)
    assert (await sign_in(broker, made.key)).valid_until is not None
    assert (await sign_in(broker, rotated.key)).valid_until is None
    assert (await get_key(broker, admin, made.id)).masked == rotated.masked
    last = await rotate_key(broker, admin, made.id, Rotation())
    assert [await refusal_of(broker, text) for text in (made.key, rotated.key)] == ["unauthorized"] * 2
    assert (await sign_in(broker, last.key)).key_id == made.id


async def test_deactivated_deleted_and_never_issued_keys_get_the_same_answer(broker: Broker, admin: Actor) -> None:
    inactive, deleted = [await create_key(broker, admin, READER) for _ in range(2)]
    await change_key(broker, admin, inactive.id, KeyPatch(active=False))
    await delete_key(broker, admin, deleted.id)
    messages = set()
    for text in (inactive.key, deleted.key, "sk-" + "0" * 50, "sk-short", "x" * 50):
        with pytest.raises(Refusal) as refusal:
            await sign_in(broker, text)
        messages.add((refusal.value.code, refusal.value.message))
    assert len(messages) == 1
    await change_key(broker, admin, inactive.id, KeyPatch(active=True))
    assert (await sign_in(broker, inactive.key)).key_id == inactive.id


async def test_a_foreign_key_does_not_exist(broker: Broker, admin: Actor) -> None:
    stranger = await new_workspace(broker, admin)
    mine = await create_key(broker, admin, READER)
    for actor, key_id in ((stranger, mine.id), (admin, stranger.key_id), (admin, "key_never"), (admin, "a.*.>")):
        for call in (
            get_key(broker, actor, key_id),
            change_key(broker, actor, key_id, KeyPatch(active=False)),
            rotate_key(broker, actor, key_id, Rotation()),
            delete_key(broker, actor, key_id),
        ):
            with pytest.raises(Refusal) as refusal:
                await call
            assert refusal.value.code == "not_found"
    assert mine.id not in {key.id for key in (await list_keys(broker, stranger, limit=100)).data}
    assert (await sign_in(broker, mine.key)).key_id == mine.id


async def test_nobodys_word_is_taken_for_what_a_key_may_do(broker: Broker, admin: Actor) -> None:
    stranger = await new_workspace(broker, admin)
    reader = await create_key(broker, admin, READER)
    forged = Actor(key_id=stranger.key_id, workspace=admin.workspace)
    for actor, code in ((forged, "unauthorized"), (Actor(key_id=reader.id, workspace=admin.workspace), "forbidden")):
        with pytest.raises(Refusal) as refusal:
            await create_key(broker, actor, READER)
        assert refusal.value.code == code
        with pytest.raises(Refusal) as refusal:
            await list_keys(broker, actor, limit=1)
        assert refusal.value.code == code


async def test_a_key_that_is_no_longer_valid_gives_no_commands(broker: Broker, admin: Actor) -> None:
    ends = datetime.now(UTC) + timedelta(milliseconds=500)
    wish = NewKey(name="Admin", permissions=("admin",))
    expiring = await create_key(broker, admin, msgspec.structs.replace(wish, expires_at=ends.isoformat()))
    inactive, deleted = [await create_key(broker, admin, wish) for _ in range(2)]
    actors = [await actor_for(broker, key.key) for key in (expiring, inactive, deleted)]
    await change_key(broker, admin, inactive.id, KeyPatch(active=False))
    await delete_key(broker, admin, deleted.id)
    async with asyncio.timeout(3):
        while await opens(broker, expiring.key):
            pass
    for actor in actors:
        with pytest.raises(Refusal) as refusal:
            await list_keys(broker, actor, limit=1)
        assert refusal.value.code == "unauthorized"


async def test_keys_are_listed_newest_first_page_by_page(broker: Broker, admin: Actor) -> None:
    actor = await new_workspace(broker, admin)
    made = [(await create_key(broker, actor, READER)).id for _ in range(4)]
    first = await list_keys(broker, actor, limit=3)
    await create_key(broker, actor, READER)
    rest = await list_keys(broker, actor, limit=3, cursor=first.next_cursor)
    assert [key.id for key in (*first.data, *rest.data)] == [*reversed(made), actor.key_id]
    assert rest.next_cursor is None
    for limit, cursor, pointer in ((0, None, "/limit"), (101, None, "/limit"), (1, "x", "/cursor")):
        with pytest.raises(Refusal) as refusal:
            await list_keys(broker, actor, limit=limit, cursor=cursor)
        assert (refusal.value.code, refusal.value.pointer) == ("invalid_input", pointer)


async def test_a_deployments_own_key_lives_as_long_as_it(broker: Broker, admin: Actor) -> None:
    actor = await new_workspace(broker, admin)
    writer = await create_key(broker, actor, NewKey(name="Deployer", permissions=("write",)))
    deployer = await actor_for(broker, writer.key)
    own = await issue_deployment_key(broker, deployer, "d-1", "Greeter")
    principal = await sign_in(broker, own.key)
    assert (principal.permissions, principal.deployment_ids) == (("execute",), ("d-1",))
    listed = {key.id: key for key in (await list_keys(broker, actor, limit=100)).data}
    assert (listed[own.id].name, listed[own.id].masked) == ("Greeter", own.masked)
    await withdraw_deployment_key(broker, deployer, "d-1")
    await withdraw_deployment_key(broker, deployer, "d-1")
    assert await refusal_of(broker, own.key) == "unauthorized"


async def test_a_workspaces_limits_change_for_its_keys(broker: Broker, admin: Actor) -> None:
    made = await create_workspace(broker, admin, NewWorkspace(name="Test", plan="free"))
    assert (await sign_in(broker, made.admin_key)).limits == Limits(concurrent_runs=4, monthly_requests=1_000)
    patch = WorkspacePatch(plan="pro", limits=LimitsPatch(concurrent_runs=None))
    await change_workspace(broker, admin, made.id, patch)
    principal = await sign_in(broker, made.admin_key)
    assert (principal.plan, principal.limits, principal.root) == ("pro", Limits(monthly_requests=10_000), False)
    for workspace_id in ("ws_none", "a.b"):
        with pytest.raises(Refusal) as refusal:
            await change_workspace(broker, admin, workspace_id, patch)
        assert refusal.value.code == "not_found"


async def test_what_one_process_changes_the_other_knows(second_auth: Running, broker: Broker, admin: Actor) -> None:
    actor = await new_workspace(broker, admin)
    for count in range(1, 21):
        made = await create_key(broker, actor, READER)
        assert (await sign_in(broker, made.key)).key_id == made.id
        assert len((await list_keys(broker, actor, limit=100)).data) == count + 1
    for key in (await list_keys(broker, actor, limit=100)).data[:-1]:
        await delete_key(broker, actor, key.id)
        assert key.id not in {left.id for left in (await list_keys(broker, actor, limit=100)).data}


async def test_what_another_process_announces_is_taken_before_the_stream_brings_it(
    broker: Broker, admin: Actor
) -> None:
    made = await create_key(broker, admin, READER)
    subject = f"mgt.{admin.workspace}.key.{made.id}"
    created = await recall(broker, subject)
    assert created is not None
    state = msgspec.structs.replace(created.change.state, active=False)
    change = msgspec.structs.replace(created.change, state=state)
    announced = Changed(subject=subject, sequence=created.sequence + 1, change=change)
    await broker.publish(CHANGED, msgspec.json.encode(announced))
    assert await refusal_of(broker, made.key) == "unauthorized"


async def test_changes_at_the_same_time_are_all_made(second_auth: Running, broker: Broker, admin: Actor) -> None:
    made = await create_key(broker, admin, READER)
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(change_key(broker, admin, made.id, KeyPatch(name=f"name-{number}")))
    history = await read_range(broker, MANAGEMENT, f"mgt.{admin.workspace}.key.{made.id}", 1)
    changes = [decode_change(message.payload) for message in history]
    assert [change.type for change in changes] == ["key.created", *["key.changed"] * 4]
    assert {(change.by, change.address) for change in changes} == {("key_root", ADDRESS)}


async def test_a_restarted_process_has_everything_from_the_log(nats_server: NatsServer, broker: Broker) -> None:
    async with running_auth(nats_server.url):
        admin = await actor_for(broker)
        kept, dropped = [await create_key(broker, admin, READER) for _ in range(2)]
        await delete_key(broker, admin, dropped.id)
    async with running_auth(nats_server.url, admin_key=""):
        assert (await sign_in(broker, kept.key)).key_id == kept.id
        assert (await sign_in(broker)).key_id == "key_root"
        assert await refusal_of(broker, dropped.key) == "unauthorized"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"key": 5}',
        b'{"actor": {"key_id": "key_root", "workspace": "ws_root"}, "command": {"call": "drop_all"}}',
        b'{"actor": {"key_id": "key_root", "workspace": "ws_root"}, "command": {"call": "create_key", "wish": {}}}',
    ],
)
@pytest.mark.parametrize("subject", [VERIFY, MANAGE])
async def test_what_cannot_be_decoded_is_answered(auth: Running, broker: Broker, subject: str, payload: bytes) -> None:
    answer = msgspec.json.decode((await broker.request(subject, payload)).data, type=Refused)
    assert answer.code == "invalid_input"


async def test_no_key_is_stored_or_measured(auth: Running, broker: Broker, admin: Actor) -> None:
    made = await create_key(broker, admin, READER)
    messages = await read_range(broker, MANAGEMENT, f"mgt.{admin.workspace}.key.*", 1)
    stored = b"".join(message.payload for message in messages)
    assert made.masked.encode() in stored
    for text in (made.key, made.key[15:47], ADMIN_KEY):
        assert text.encode() not in stored
    async with aiohttp.ClientSession() as session, session.get(auth.url + "/metrics") as response:
        measured = await response.text()
    assert 'headgate_key_verifications_total{outcome="accepted"}' in measured
    assert "headgate_keys " in measured
    assert "sk-" not in measured


async def test_a_process_is_ready_when_it_serves_and_not_without_its_broker(fresh_nats: NatsServer) -> None:
    async with running_auth(fresh_nats.url) as running, aiohttp.ClientSession() as session:
        assert await missing_of(session, running) == []
        fresh_nats.kill()
        async with asyncio.timeout(10):
            while not (missing := await missing_of(session, running)):
                pass
        assert missing == ["broker"]
