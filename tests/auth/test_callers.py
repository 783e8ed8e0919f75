"""The callers' side: which key a request holds, and when a verification may come from memory.

Where the order of an answer and an announcement matters, the test itself takes auth's place on NATS.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import monotonic, perf_counter_ns

import msgspec
import pytest
from multidict import CIMultiDict

from cli.servers import NatsServer
from libs.edge.callers import MAX_KEPT, Callers, Refusal
from libs.edge.key_management import change_key, change_workspace, create_key, create_workspace, delete_key
from libs.events.auth_calls import (
    CHANGED,
    VERIFY,
    Actor,
    Changed,
    Granted,
    KeyPatch,
    LimitsPatch,
    NewKey,
    NewWorkspace,
    Principal,
    Refused,
    Verify,
    WorkspacePatch,
)
from libs.events.broker import Broker, Msg, Unavailable, connect
from libs.events.managed import Change, Limits
from tests.auth.samples import NOW, sample_key
from tests.auth.service import ADMIN_KEY, Running, actor_for, eventually, running_auth
from tests.faults.proxy import proxy_to

KEY = "sk-" + "k" * 40
OTHER = "sk-" + "o" * 40
PRINCIPAL = Principal(key_id="key_sample", workspace="ws_1", permissions=("read",), plan="free", limits=Limits())
READER = NewKey(name="Reader", permissions=("read",))

Answer = Callable[[str], Awaitable[Granted[Principal] | Refused]]


class Desk:
    """Auth's place on NATS: answers by `answer`, counts what it is asked."""

    def __init__(self, broker: Broker, answer: Answer) -> None:
        self.broker = broker
        self.asked: list[str] = []
        self._answer = answer
        self._tasks: set[asyncio.Task[None]] = set()

    async def on_verify(self, message: Msg) -> None:
        """Take a request; several may be under way."""
        task = asyncio.create_task(self._respond(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _respond(self, message: Msg) -> None:
        key = msgspec.json.decode(message.data, type=Verify).key
        self.asked.append(key)
        await self.broker.publish(message.reply, msgspec.json.encode(await self._answer(key)))

    async def announce(self, callers: Callers, changed: Changed) -> None:
        """Announce, and return when it was heard: a key that is asked about after it is answered after it."""
        await self.broker.publish(CHANGED, msgspec.json.encode(changed))
        with pytest.raises(Refusal):
            await callers.verify(f"sk-flush-{len(self.asked)}-{'0' * 40}")


async def granted(key: str) -> Granted[Principal] | Refused:
    """Every key is good but those that only flush the connection."""
    if key.startswith("sk-flush"):
        return Refused(code="unauthorized", message="no")
    return Granted(answer=PRINCIPAL)


@asynccontextmanager
async def at_desk(nats: NatsServer, answer: Answer = granted) -> AsyncIterator[tuple[Desk, Callers]]:
    """The test as auth, and callers that ask it, over a connection each."""
    async with (
        connect(nats.url, "desk", lambda: None) as behind,
        connect(nats.url, "gateway", lambda: None) as broker,
        Callers(broker) as callers,
    ):
        desk = Desk(behind, answer)
        subscription = await behind.subscribe(VERIFY, desk.on_verify)
        async with behind.listen("flush", 1):  # which waits for the server's word on the subscription before it
            pass
        yield desk, callers
        await behind.unsubscribe(subscription)


def key_changed() -> Changed:
    """The announcement that the sample key changed."""
    change = Change(type="key.changed", at=NOW, by="key_root", state=sample_key())
    return Changed(subject="mgt.ws_1.key.key_sample", sequence=1, change=change)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([("Authorization", f"Bearer {KEY}")], KEY),
        ([("authorization", f"bearer  {KEY} ")], KEY),
        ([("X-API-Key", KEY)], KEY),
        ([("x-api-key", f" {KEY}")], KEY),
        ([("API-Key", KEY)], KEY),
        ([("api-key", KEY), ("X-API-Key", KEY), ("Authorization", f"Bearer {KEY}")], KEY),
        ([("api-key", ""), ("X-API-Key", KEY)], KEY),
        ([("Authorization", "Basic dTpw"), ("X-API-Key", KEY)], KEY),
        ([("Authorization", "Bearer")], None),
        ([("Authorization", "Basic dTpw")], None),
        ([("Cookie", KEY)], None),
        ([], None),
    ],
)
def test_a_key_is_read_from_three_headers(headers: list[tuple[str, str]], key: str | None) -> None:
    assert Callers.key_of(CIMultiDict(headers)) == key


@pytest.mark.parametrize(
    "headers",
    [
        [("X-API-Key", KEY), ("api-key", OTHER)],
        [("X-API-Key", KEY), ("X-API-Key", OTHER)],
        [("Authorization", f"Bearer {KEY}"), ("api-key", OTHER)],
    ],
)
def test_two_keys_that_differ_are_refused(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(Refusal) as refusal:
        Callers.key_of(CIMultiDict(headers))
    assert refusal.value.code == "unauthorized"
    assert KEY not in refusal.value.message


async def test_a_valid_and_a_refused_key_are_asked_about_once(nats_server: NatsServer) -> None:
    async with at_desk(nats_server) as (desk, callers):
        for _ in range(3):
            assert await callers.verify(KEY) == PRINCIPAL
            with pytest.raises(Refusal):
                await callers.verify("sk-flush" + "0" * 40)
        assert sorted(desk.asked) == ["sk-flush" + "0" * 40, KEY]


async def test_garbage_is_refused_without_asking(nats_server: NatsServer) -> None:
    async with at_desk(nats_server) as (desk, callers):
        for text in ("", "sk-", "sk-short", "Bearer " + KEY, "sk-" + "\udcff" * 40, "sk-" + "a" * 10_000):
            with pytest.raises(Refusal) as refusal:
                await callers.verify(text)
            assert refusal.value.code == "unauthorized"
        assert desk.asked == []


async def test_callers_that_want_the_same_share_one_request(nats_server: NatsServer) -> None:
    gate = asyncio.Event()

    async def slow(key: str) -> Granted[Principal] | Refused:
        await gate.wait()
        return await granted(key)

    async with at_desk(nats_server, slow) as (desk, callers):
        tasks = [asyncio.create_task(callers.verify(KEY)) for _ in range(50)]
        await eventually(lambda: KEY in desk.asked)
        tasks[0].cancel()
        gate.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(answers[0], asyncio.CancelledError)
        assert answers[1:] == [PRINCIPAL] * 49
        assert desk.asked == [KEY]


async def test_an_answer_from_before_a_change_is_neither_kept_nor_shared(nats_server: NatsServer) -> None:
    gates = {"early": asyncio.Event(), "late": asyncio.Event()}

    async def held(key: str) -> Granted[Principal] | Refused:
        if key == KEY:
            await gates["early" if desk.asked.count(KEY) == 1 else "late"].wait()
        return await granted(key)

    async with at_desk(nats_server, held) as (desk, callers):
        early = asyncio.create_task(callers.verify(KEY))
        await eventually(lambda: KEY in desk.asked)
        await desk.announce(callers, key_changed())
        gates["early"].set()
        await early
        late = asyncio.create_task(callers.verify(KEY))
        await eventually(lambda: desk.asked.count(KEY) == 2)
        gates["late"].set()
        await late
        await callers.verify(KEY)
        assert desk.asked.count(KEY) == 2, "the late answer is kept"


async def test_a_request_from_before_a_change_is_not_joined_after_it(nats_server: NatsServer) -> None:
    gate = asyncio.Event()

    async def held(key: str) -> Granted[Principal] | Refused:
        if key == KEY:
            await gate.wait()
        return await granted(key)

    async with at_desk(nats_server, held) as (desk, callers):
        early = asyncio.create_task(callers.verify(KEY))
        await eventually(lambda: KEY in desk.asked)
        await desk.announce(callers, key_changed())
        late = asyncio.create_task(callers.verify(KEY))
        await eventually(lambda: desk.asked.count(KEY) == 2)
        gate.set()
        assert await early == await late == PRINCIPAL


async def test_an_announcement_drops_its_key_or_workspace_and_nothing_else(nats_server: NatsServer) -> None:
    elsewhere = msgspec.structs.replace(PRINCIPAL, key_id="key_other", workspace="ws_2")

    async def both(key: str) -> Granted[Principal] | Refused:
        return Granted(answer=elsewhere) if key == OTHER else await granted(key)

    async with at_desk(nats_server, both) as (desk, callers):
        for changed in (key_changed(), Changed(subject="mgt.ws_1.workspace.ws_1", sequence=2)):
            await asyncio.gather(callers.verify(KEY), callers.verify(OTHER))
            desk.asked.clear()
            await desk.announce(callers, changed)
            await asyncio.gather(callers.verify(KEY), callers.verify(OTHER))
            assert desk.asked.count(KEY) == 1
            assert desk.asked.count(OTHER) == 0


@pytest.mark.parametrize("said", [b"{}", b"not what we know"])
async def test_an_announcement_of_anything_drops_everything(nats_server: NatsServer, said: bytes) -> None:
    async with at_desk(nats_server) as (desk, callers):
        await callers.verify(KEY)
        await desk.broker.publish(CHANGED, said)
        await desk.announce(callers, Changed(subject="mgt.ws_9.key.key_9", sequence=1))
        await callers.verify(KEY)
        assert desk.asked.count(KEY) == 2


async def test_a_key_that_was_refused_is_asked_about_again_after_a_change(nats_server: NatsServer) -> None:
    known: set[str] = set()

    async def answer(key: str) -> Granted[Principal] | Refused:
        return Granted(answer=PRINCIPAL) if key in known else Refused(code="unauthorized", message="no")

    async with at_desk(nats_server, answer) as (desk, callers):
        with pytest.raises(Refusal):
            await callers.verify(KEY)
        known.add(KEY)
        await desk.announce(callers, key_changed())
        assert await callers.verify(KEY) == PRINCIPAL


async def test_nothing_is_kept_beyond_the_end_of_its_key(nats_server: NatsServer) -> None:
    ends = datetime.now(UTC) + timedelta(milliseconds=300)

    async def short(_: str) -> Granted[Principal] | Refused:
        if datetime.now(UTC) >= ends:
            return Refused(code="unauthorized", message="no")
        return Granted(answer=msgspec.structs.replace(PRINCIPAL, valid_until=ends))

    async with at_desk(nats_server, short) as (desk, callers):
        await until_refused(callers, KEY)
        assert 0 <= (datetime.now(UTC) - ends).total_seconds() < 0.5
        assert len(desk.asked) == 2


async def test_what_is_kept_is_bounded_and_what_was_not_used_goes_first(nats_server: NatsServer) -> None:
    async with at_desk(nats_server) as (desk, callers):
        await callers.verify(KEY)
        await callers.verify(OTHER)
        for start in range(0, MAX_KEPT, 500):
            await callers.verify(KEY)
            texts = [f"sk-{number:040}" for number in range(start, min(start + 500, MAX_KEPT - 1))]
            await asyncio.gather(*map(callers.verify, texts))
        desk.asked.clear()
        await callers.verify(KEY)
        await callers.verify(OTHER)
        assert desk.asked == [OTHER]


async def test_without_auth_a_key_that_is_not_kept_is_unavailable(nats_server: NatsServer) -> None:
    async with connect(nats_server.url, "gateway", lambda: None) as broker, Callers(broker) as callers:
        with pytest.raises(Unavailable):
            await callers.verify(KEY)


async def test_a_restart_of_auth_is_waited_out(nats_server: NatsServer) -> None:
    async with connect(nats_server.url, "gateway", lambda: None) as broker, Callers(broker) as callers:
        waiting = asyncio.create_task(callers.verify(ADMIN_KEY))
        await asyncio.sleep(0)
        async with running_auth(nats_server.url):
            assert (await waiting).key_id == "key_root"


async def test_without_a_connection_nothing_kept_is_used_and_with_a_new_one_it_is_asked_for(
    fresh_nats: NatsServer,
) -> None:
    async with (
        connect(fresh_nats.url, "gateway", lambda: None) as gateway,
        at_desk(fresh_nats) as (desk, _),
        Callers(gateway) as callers,
    ):
        await callers.verify(KEY)
        fresh_nats.kill()
        await eventually(lambda: not gateway.connected)
        with pytest.raises(Unavailable):
            await callers.verify(KEY)
        fresh_nats.start()
        async with asyncio.timeout(10):
            while len(desk.asked) == 1:
                try:
                    assert await callers.verify(KEY) == PRINCIPAL
                except Unavailable:
                    continue
        assert desk.asked == [KEY, KEY]


async def test_a_revoked_key_is_refused_by_every_gateway_within_a_second(
    second_auth: Running, nats_server: NatsServer, broker: Broker, admin: Actor
) -> None:
    async with (
        connect(nats_server.url, "gateway-1", lambda: None) as one,
        connect(nats_server.url, "gateway-2", lambda: None) as two,
        Callers(one) as first,
        Callers(two) as second,
    ):
        for deactivate in (True, False) * 5:
            key = await create_key(broker, admin, READER)
            hammering = [asyncio.create_task(until_refused(callers, key.key)) for callers in (first, second) * 4]
            await asyncio.gather(first.verify(key.key), second.verify(key.key))
            if deactivate:
                await change_key(broker, admin, key.id, KeyPatch(active=False))
            else:
                await delete_key(broker, admin, key.id)
            revoked = monotonic()
            assert max(await asyncio.gather(*hammering)) - revoked < 1
            for callers in (first, second):
                with pytest.raises(Refusal):
                    await callers.verify(key.key)


async def until_refused(callers: Callers, key: str) -> float:
    """Use the key over and over; answers when it was first refused."""
    async with asyncio.timeout(10):
        while True:
            try:
                await callers.verify(key)
            except Refusal:
                return monotonic()
            await asyncio.sleep(0.001)


async def test_changed_limits_are_in_force_within_a_second(
    second_auth: Running, nats_server: NatsServer, broker: Broker, admin: Actor
) -> None:
    async with connect(nats_server.url, "gateway", lambda: None) as own, Callers(own) as callers:
        made = await create_workspace(broker, admin, NewWorkspace(name="Test", plan="free"))
        for limit in (1, 2, 3):
            await callers.verify(made.admin_key)
            await change_workspace(
                broker, admin, made.id, WorkspacePatch(limits=LimitsPatch(requests_per_second=limit))
            )
            changed = monotonic()
            while (await callers.verify(made.admin_key)).limits.requests_per_second != limit:
                assert monotonic() - changed < 1
                await asyncio.sleep(0.001)


async def test_a_gateway_forgets_what_a_process_that_starts_may_have_changed(
    nats_server: NatsServer, auth: Running
) -> None:
    async with connect(nats_server.url, "gateway", lambda: None) as broker, Callers(broker) as callers:
        await actor_for(broker)
        async with broker.listen(CHANGED, 10) as heard, running_auth(nats_server.url), asyncio.timeout(5):
            message = await heard.get()
        assert message is not None
        assert msgspec.json.decode(message.data, type=Changed) == Changed()
        assert (await callers.verify(ADMIN_KEY)).root


async def test_a_process_whose_connection_broke_says_that_anything_may_have_changed(
    nats_server: NatsServer, broker: Broker
) -> None:
    async with proxy_to(nats_server.port) as proxy, running_auth(proxy.url), asyncio.timeout(15):
        await actor_for(broker)
        async with broker.listen(CHANGED, 10) as heard:
            proxy.drop()
            message = await heard.get()
        assert message is not None
        assert msgspec.json.decode(message.data, type=Changed) == Changed()
        assert (await actor_for(broker)).key_id == "key_root"


async def test_a_gateway_whose_connection_broke_asks_again(nats_server: NatsServer, auth: Running) -> None:
    async with (
        proxy_to(nats_server.port) as proxy,
        connect(proxy.url, "gateway", lambda: None) as own,
        Callers(own) as callers,
    ):
        before = await callers.verify(ADMIN_KEY)
        assert await callers.verify(ADMIN_KEY) is before
        proxy.drop()
        await eventually(lambda: not own.connected)
        await eventually(lambda: own.connected)
        assert await callers.verify(ADMIN_KEY) is not before


async def test_a_verification_from_memory_costs_less_than_five_microseconds(nats_server: NatsServer) -> None:
    async with at_desk(nats_server) as (_, callers):
        await callers.verify(KEY)
        best = 10**9
        for _ in range(20):
            started = perf_counter_ns()
            for _ in range(1_000):
                await callers.verify(KEY)
            best = min(best, (perf_counter_ns() - started) // 1_000)
        assert best < 5_000
