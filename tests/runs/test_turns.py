"""Turns: how many runs at a time, whose is next, and what becomes of those that wait."""

import asyncio

import pytest

from services.executor import turns as module
from services.executor.turns import Turns

ROOM = 32
ASSURED = 2


class Crowd:
    """Runs that want a turn, in the order in which they got one."""

    def __init__(self) -> None:
        self.turns = Turns(ROOM)
        self.begun: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.attempt = 1

    async def come(self, *workspaces: str) -> None:
        """Each takes a turn, or begins to wait for one."""
        for workspace in workspaces:
            if self.turns.take(workspace):
                self.begun.append(workspace)
            else:
                self.tasks.append(asyncio.create_task(self._wait(workspace)))
                await asyncio.sleep(0)

    async def leave(self, *workspaces: str) -> None:
        """Runs of theirs end."""
        for workspace in workspaces:
            self.turns.leave(workspace)
            await asyncio.sleep(0)

    async def _wait(self, workspace: str) -> None:
        await self.turns.wait(workspace, 100, self.attempt)
        self.begun.append(workspace)


@pytest.fixture
async def crowd() -> Crowd:
    """All room is taken by one workspace, which has a hundred more."""
    found = Crowd()
    await found.come(*["heavy"] * (ROOM + 100))
    assert found.begun == ["heavy"] * ROOM
    found.begun.clear()
    return found


async def test_a_workspace_begins_what_it_is_assured_of_though_there_is_no_room(crowd: Crowd) -> None:
    await crowd.come("light", "light", "light")
    assert crowd.begun == ["light"] * ASSURED
    await crowd.leave("light")
    assert crowd.begun == ["light"] * 3


async def test_those_that_wait_take_turns_by_workspace(crowd: Crowd) -> None:
    await crowd.come(*["light"] * 5, *["other"] * 5)
    crowd.begun.clear()
    await crowd.leave(*["heavy"] * 2 * ASSURED)
    assert crowd.begun == []  # what was assured took more than the room
    await crowd.leave(*["heavy"] * 6)
    assert crowd.begun == ["heavy", "light", "other"] * 2


async def test_there_is_an_end_to_what_is_assured(crowd: Crowd) -> None:
    await crowd.come(*[f"w{n}" for n in range(3 * ROOM)])
    assert len(crowd.begun) == ROOM


@pytest.mark.parametrize("room_comes", [False, True])
async def test_who_is_cancelled_while_it_waits_leaves_the_turn_to_another(crowd: Crowd, room_comes: bool) -> None:
    """Also when its turn has come and it has not heard of it yet."""
    if room_comes:
        crowd.turns.leave("heavy")
    crowd.tasks[0].cancel()
    await asyncio.gather(crowd.tasks[0], return_exceptions=True)
    await asyncio.sleep(0)
    if not room_comes:
        await crowd.leave("heavy")
    assert crowd.begun == ["heavy"]
    assert crowd.tasks[1].done()


async def test_who_stops_hands_back_all_that_wait_and_all_that_come(crowd: Crowd) -> None:
    crowd.turns.close()
    await crowd.come("heavy")
    results = await asyncio.gather(*crowd.tasks, return_exceptions=True)
    assert len(results) == 101
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    for _ in range(ROOM):
        await crowd.leave("heavy")
    assert crowd.begun == []


async def test_what_is_more_than_a_roomful_is_handed_back_to_be_shared(crowd: Crowd) -> None:
    crowd.attempt = 3
    await crowd.come("heavy")
    crowd.turns.share()
    await asyncio.sleep(0)
    done = [task.done() for task in crowd.tasks]
    assert done == [False] * ROOM + [True] * (100 - ROOM) + [False]
    await crowd.leave(*["heavy"] * ROOM)
    assert crowd.begun == ["heavy"] * ROOM


async def test_sharing_leaves_every_workspace_its_part(crowd: Crowd) -> None:
    await crowd.come(*["light"] * 50)
    crowd.begun.clear()
    crowd.turns.share()
    await crowd.leave(*["heavy", "light"] * ASSURED, *["heavy"] * 20)
    assert min(crowd.begun.count(workspace) for workspace in ("heavy", "light")) >= 10


async def test_what_waits_is_bounded_by_its_size(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 100 * 100)
    assert crowd.turns.full
    await crowd.leave("heavy")
    assert not crowd.turns.full


async def test_every_turn_that_was_taken_can_be_had_again() -> None:
    crowd = Crowd()
    names = [f"w{n % 7}" for n in range(1000)]
    await crowd.come(*names)
    ended = 0
    while ended < len(crowd.begun):
        await crowd.leave(crowd.begun[ended])
        ended += 1
    assert sorted(crowd.begun) == sorted(names)
    crowd.begun.clear()
    await crowd.come(*["w"] * ROOM, "w")
    assert crowd.begun == ["w"] * ROOM
