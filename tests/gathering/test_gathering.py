"""Gathering at the edge: when a group is closed, who is in it, and what becomes of those who wait."""

import asyncio
from collections.abc import Callable

import pytest

from libs.events.broker import Unavailable
from libs.events.groups import entry_of, parts_of
from libs.events.log import EventLog
from libs.events.run_events import encode_append
from libs.events.subjects import Kind, RunKey, run_subject, suffix_of
from libs.runtime.ids import pair
from services.gateway.gathering import MAX_BYTES, MAX_NODES, MAX_RUN_BYTES, MAX_RUNS, Gathering
from tests.events.runs import requested, said

UNDER_WAY = 4
"""So many appends of a workspace go out before what comes is gathered."""


class Held:
    """A log whose appends are stored when the test says so. Stands in for `EventLog`, which stores them when it can."""

    def __init__(self) -> None:
        self.appends: list[tuple[RunKey, bytes, asyncio.Future[int]]] = []
        self.came = asyncio.Event()

    async def append_group(
        self, group: RunKey, kind: Kind, payload: bytes, *, after: int, patience_seconds: float
    ) -> int:
        assert (kind, after) == (Kind.REQUESTED, 0)
        stored: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.appends.append((group, payload, stored))
        self.came.set()
        return await stored

    def store(self, number: int) -> None:
        self.appends[number][2].set_result(number + 1)

    def runs(self, number: int) -> list[RunKey]:
        """The runs in an append."""
        group, payload, _ = self.appends[number]
        return [part.run for part in parts_of(run_subject(0, group, Kind.REQUESTED), payload)]

    @property
    def sizes(self) -> list[int]:
        return [len(self.runs(number)) for number in range(len(self.appends))]


@pytest.fixture
async def held() -> Held:
    return Held()


@pytest.fixture
async def hasty(held: Held) -> Gathering:
    """As it is."""
    return Gathering(held)  # type: ignore[arg-type]


@pytest.fixture
async def gathering(hasty: Gathering, monkeypatch: pytest.MonkeyPatch) -> Gathering:
    """Whose moment is longer than any test on any machine."""
    monkeypatch.setattr("services.gateway.gathering._LONGEST_SECONDS", 3600.0)
    return hasty


def encoder(workspace: str) -> Callable[[str], bytes]:
    return lambda run_id: encode_append(requested(RunKey(workspace, run_id)))


def join(gathering: Gathering, workspace: str = "ws_1", nodes: int = 1) -> tuple[RunKey, asyncio.Future[None]]:
    joined = gathering.join(workspace, nodes, encoder(workspace))
    assert joined is not None
    return joined


def join_many(
    gathering: Gathering, count: int, workspace: str = "ws_1"
) -> tuple[list[RunKey], list[asyncio.Future[None]]]:
    joined = [join(gathering, workspace) for _ in range(count)]
    return [run for run, _ in joined], [stored for _, stored in joined]


async def turns() -> None:
    """Let everything go that waits for nothing but its turn."""
    for _ in range(5):
        await asyncio.sleep(0)


async def fill(held: Held, gathering: Gathering, workspace: str = "ws_1") -> int:
    """Have so many appends under way that what comes is gathered; answers how many there are."""
    for _ in range(UNDER_WAY):
        join(gathering, workspace)
        await turns()
    assert held.sizes[-UNDER_WAY:] == [1] * UNDER_WAY
    return len(held.appends)


async def test_what_came_in_one_turn_goes_out_at_its_end(held: Held, gathering: Gathering) -> None:
    runs, stored = join_many(gathering, 3)
    assert held.appends == []
    await turns()
    assert held.runs(0) == runs
    assert [suffix_of(run.run_id) for run in runs] == [pair(0), pair(1), pair(2)]
    assert {entry_of(run) for run in runs} == {held.appends[0][0]}
    assert not stored[0].done()
    held.store(0)
    await asyncio.gather(*stored)


async def test_one_alone_waits_for_nobody(held: Held, gathering: Gathering) -> None:
    for number in range(UNDER_WAY):
        run, _ = join(gathering)
        await turns()
        assert held.runs(number) == [run]


async def test_what_comes_while_many_are_under_way_is_gathered_until_one_is_stored(
    held: Held, gathering: Gathering
) -> None:
    count = await fill(held, gathering)
    first, _ = join(gathering)
    await turns()
    second, _ = join(gathering)
    await turns()
    assert len(held.appends) == count
    held.store(2)
    await turns()
    assert held.runs(count) == [first, second]


async def test_a_full_group_goes_out_at_once(held: Held, gathering: Gathering) -> None:
    count = await fill(held, gathering)
    runs, _ = join_many(gathering, MAX_RUNS + 2)
    await turns()
    assert held.sizes[count:] == [MAX_RUNS]
    assert held.runs(count) == runs[:MAX_RUNS]
    held.store(0)
    await turns()
    assert held.runs(count + 1) == runs[MAX_RUNS:]
    assert [suffix_of(run.run_id) for run in held.runs(count + 1)] == [pair(0), pair(1)]


async def test_so_many_nodes_make_a_group_full(held: Held, gathering: Gathering) -> None:
    count = await fill(held, gathering)
    large = MAX_NODES // 2
    runs = [join(gathering, nodes=nodes)[0] for nodes in (1, large, large, 1)]
    await turns()
    assert held.runs(count) == runs[:3]
    assert len(held.appends) == count + 1


async def test_so_many_bytes_make_a_group_full(held: Held, gathering: Gathering) -> None:
    count = await fill(held, gathering)
    enough = MAX_BYTES // MAX_RUN_BYTES
    for _ in range(enough + 1):
        assert gathering.join("ws_1", 1, lambda _: b"x" * MAX_RUN_BYTES) is not None
    await turns()
    assert [payload.count(b"x") for _, payload, _ in held.appends[count:]] == [MAX_RUN_BYTES * enough]


async def test_nobody_is_gathered_for_longer_than_a_moment(held: Held, hasty: Gathering) -> None:
    """Although nothing that is under way is ever stored."""
    count = await fill(held, hasty)
    held.came.clear()
    began = asyncio.get_running_loop().time()
    run, _ = join(hasty)
    async with asyncio.timeout(10):
        await held.came.wait()
    assert asyncio.get_running_loop().time() - began > 0.01
    assert held.runs(count) == [run]


async def test_a_group_whose_moment_passes_after_it_went_out_is_sent_once(held: Held, hasty: Gathering) -> None:
    count = await fill(held, hasty)
    join(hasty)
    held.store(0)
    await turns()
    assert len(held.appends) == count + 1
    later, _ = join(hasty)
    async with asyncio.timeout(10):
        while len(held.appends) < count + 2:
            held.came.clear()
            await held.came.wait()
    assert held.runs(count + 1) == [later]


async def test_a_quiet_workspace_is_not_gathered_while_another_is_busy(held: Held, gathering: Gathering) -> None:
    count = await fill(held, gathering, "ws_busy")
    join(gathering, "ws_busy")
    run, _ = join(gathering, "ws_quiet")
    await turns()
    assert len(held.appends) == count + 1
    assert held.runs(count) == [run]


async def test_two_workspaces_never_share_a_group(held: Held, gathering: Gathering) -> None:
    runs = [join(gathering, f"ws_{number % 3}")[0] for number in range(12)]
    await turns()
    assert held.sizes == [4, 4, 4]
    for number, (group, _, _) in enumerate(held.appends):
        assert held.runs(number) == [run for run in runs if run.workspace == group.workspace]


@pytest.mark.parametrize("error", [Unavailable("no log"), RuntimeError("ours")])
async def test_a_failure_reaches_all_of_the_group_and_nobody_else(
    held: Held, gathering: Gathering, error: Exception
) -> None:
    _, stored = join_many(gathering, 3)
    await turns()
    _, others = join_many(gathering, 2)
    await turns()
    held.appends[0][2].set_exception(error)
    found = await asyncio.gather(*stored, return_exceptions=True)
    assert found == [error] * 3
    held.store(1)
    await asyncio.gather(*others)


async def test_after_a_failure_the_next_group_goes_out(held: Held, gathering: Gathering) -> None:
    count = await fill(held, gathering)
    run, stored = join(gathering)
    held.appends[1][2].set_exception(Unavailable("no log"))
    await turns()
    assert held.runs(count) == [run]
    held.store(count)
    await stored


async def test_a_waiter_that_is_cut_off_disturbs_nobody(held: Held, gathering: Gathering) -> None:
    runs, stored = join_many(gathering, 3)

    async def wait(number: int) -> RunKey:
        await stored[number]
        return runs[number]

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await turns()
    waiting[1].cancel()
    await turns()
    assert waiting[1].cancelled()
    held.store(0)
    assert await asyncio.gather(waiting[0], waiting[2]) == [runs[0], runs[2]]
    assert held.runs(0) == runs


async def test_a_request_that_cannot_be_encoded_leaves_no_hole(held: Held, gathering: Gathering) -> None:
    def fail(run_id: str) -> bytes:
        raise ValueError("no text")

    first, _ = join(gathering)
    with pytest.raises(ValueError, match="no text"):
        gathering.join("ws_1", 1, fail)
    second, _ = join(gathering)
    await turns()
    assert held.runs(0) == [first, second]
    assert [suffix_of(run.run_id) for run in (first, second)] == [pair(0), pair(1)]


async def test_a_request_that_is_too_large_for_company_leaves_no_hole(held: Held, gathering: Gathering) -> None:
    def encode(run_id: str) -> bytes:
        return encode_append(said(RunKey("ws_1", run_id), 1, text="x" * MAX_RUN_BYTES))

    first, _ = join(gathering)
    assert gathering.join("ws_1", 1, encode) is None
    second, _ = join(gathering)
    await turns()
    assert held.runs(0) == [first, second]


async def test_nothing_is_appended_for_a_group_that_nobody_came_to(held: Held, gathering: Gathering) -> None:
    assert gathering.join("ws_1", 1, lambda _: b"x" * (MAX_RUN_BYTES + 1)) is None
    await turns()
    assert held.appends == []
    run, _ = join(gathering)
    await turns()
    assert held.runs(0) == [run]


async def test_what_was_gathered_lies_in_the_log_for_each_run(log: EventLog, workspace: str) -> None:
    gathering = Gathering(log)
    runs, stored = join_many(gathering, MAX_RUNS + 6, workspace)
    await asyncio.gather(*stored)
    assert len({run.run_id for run in runs}) == MAX_RUNS + 6
    assert len({entry_of(run) for run in runs}) == 2
    for run in runs:
        first = await log.first(run)
        assert first is not None
        assert first.payload == encode_append(requested(run))
