"""The root workspace and the admin key of the environment, over starts and restarts."""

import asyncio
from datetime import timedelta

import pytest

from cli.servers import NatsServer
from libs.edge.callers import Refusal
from libs.edge.key_management import change_key, delete_key, rotate_key
from libs.events.auth_calls import KeyPatch, Rotation
from libs.events.broker import Broker, connect
from libs.events.managed import decode_change
from libs.events.reads import read_range
from libs.events.subjects import MANAGEMENT
from libs.events.topology import converge
from services.auth.bootstrap import bootstrap
from services.auth.directory import Directory
from services.auth.replica import Replica
from tests.auth.samples import NOW, PEPPER
from tests.auth.service import ADMIN_KEY, actor_for, running_auth, sign_in

OTHER_KEY = "sk-another-admin-key-of-these-tests-1"


async def key_events(broker: Broker) -> list[str]:
    """What happened to the root key."""
    messages = await read_range(broker, MANAGEMENT, "mgt.ws_root.key.key_root", 1)
    return [decode_change(message.payload).type for message in messages]


async def opens(broker: Broker, key: str) -> bool:
    """Whether the key is valid."""
    try:
        return (await sign_in(broker, key)).key_id == "key_root"
    except Refusal:
        return False


async def test_processes_that_start_together_make_one_root(fresh_nats: NatsServer) -> None:
    async with connect(fresh_nats.url, "test", lambda: None) as broker:
        starts = [running_auth(fresh_nats.url) for _ in range(4)]
        await asyncio.gather(*(start.__aenter__() for start in starts))
        assert await opens(broker, ADMIN_KEY)
        assert await key_events(broker) == ["key.bootstrapped"]
        assert len(await read_range(broker, MANAGEMENT, "mgt.ws_root.workspace.ws_root", 1)) == 1
        for start in starts:
            await start.__aexit__(None, None, None)
        async with running_auth(fresh_nats.url):
            assert await key_events(broker) == ["key.bootstrapped"]


async def test_a_start_that_another_one_overtakes_takes_what_that_one_made(fresh_nats: NatsServer) -> None:
    async with connect(fresh_nats.url, "test", lambda: None) as broker:
        await converge(broker, streams=1, replicas=1)
        directories = [Directory() for _ in range(4)]
        starts = [
            bootstrap(Replica(broker, directory), PEPPER, ADMIN_KEY, NOW + timedelta(seconds=number))
            for number, directory in enumerate(directories)
        ]
        await asyncio.gather(*starts)
        assert await key_events(broker) == ["key.bootstrapped"]
        made = [directory.key("ws_root", "key_root") for directory in directories]
        assert made == [made[0]] * 4
        assert made[0] is not None


async def test_another_admin_key_replaces_the_one_before(fresh_nats: NatsServer) -> None:
    async with connect(fresh_nats.url, "test", lambda: None) as broker:
        for given, other in ((ADMIN_KEY, OTHER_KEY), (OTHER_KEY, ADMIN_KEY), (ADMIN_KEY, OTHER_KEY)):
            async with running_auth(fresh_nats.url, given):
                assert (await opens(broker, given), await opens(broker, other)) == (True, False)


async def test_without_an_admin_key_nothing_changes(fresh_nats: NatsServer) -> None:
    async with connect(fresh_nats.url, "test", lambda: None) as broker:
        async with running_auth(fresh_nats.url, ""):
            assert await key_events(broker) == []
        async with running_auth(fresh_nats.url):
            pass
        async with running_auth(fresh_nats.url, ""):
            assert await opens(broker, ADMIN_KEY)


@pytest.mark.parametrize("how", ["rotated", "deleted", "deactivated"])
async def test_an_admin_key_that_was_revoked_does_not_come_back_by_a_restart(fresh_nats: NatsServer, how: str) -> None:
    async with connect(fresh_nats.url, "test", lambda: None) as broker:
        rotated = None
        async with running_auth(fresh_nats.url):
            admin = await actor_for(broker)
            match how:
                case "rotated":
                    rotated = await rotate_key(broker, admin, "key_root", Rotation())
                case "deleted":
                    await delete_key(broker, admin, "key_root")
                case _:
                    await change_key(broker, admin, "key_root", KeyPatch(active=False))
        async with running_auth(fresh_nats.url):
            assert not await opens(broker, ADMIN_KEY)
            assert rotated is None or await opens(broker, rotated.key)
        async with running_auth(fresh_nats.url, OTHER_KEY):
            assert await opens(broker, OTHER_KEY)


@pytest.mark.parametrize("key", ["sk-short", "pk-" + "a" * 40, "sk-" + "a" * 300, "sk-" + "a b" * 20])
async def test_what_cannot_be_a_key_stops_the_start(nats_server: NatsServer, key: str) -> None:
    with pytest.raises(ValueError, match="HEADGATE_ADMIN_KEY") as error:
        async with running_auth(nats_server.url, key):
            pass
    assert key not in str(error.value)
