"""A lane: how many attempts a receiver has under way, and what becomes of those that find no place."""

import asyncio
from itertools import pairwise

import pytest

from services.notifier.lanes import Lane, Lanes, Probes


async def entered(lane: Lane, count: int) -> None:
    for _ in range(count):
        assert await lane.enter()


def leave(lane: Lane, count: int, seconds: float = 0.01, *, well: bool = True) -> None:
    for _ in range(count):
        lane.leave(seconds, well=well)


async def test_a_lane_begins_with_one_and_takes_more_while_it_goes_well() -> None:
    lane = Lane()
    await entered(lane, 1)
    assert not await lane.enter()
    leave(lane, 1)
    for size in (2, 4, 8):
        await entered(lane, size)
        leave(lane, size)
    assert lane.window == 16
    for _ in range(20):
        await entered(lane, int(lane.window))
        leave(lane, int(lane.window))
    assert lane.window == 64


@pytest.mark.parametrize(("seconds", "well"), [(0.01, False), (5.0, True)])
async def test_a_failure_and_slowness_halve_it_down_to_one(seconds: float, well: bool) -> None:
    lane = Lane()
    lane.window = 16
    await entered(lane, 5)
    for window in (8, 4, 2, 1, 1):
        leave(lane, 1, seconds, well=well)
        assert lane.window == window
        assert not await lane.enter()


async def test_who_finds_no_place_waits_a_moment_for_one() -> None:
    lane = Lane()
    await entered(lane, 1)
    waiting = [asyncio.create_task(lane.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    leave(lane, 1)
    done, _ = await asyncio.wait(waiting, timeout=0.1, return_when=asyncio.ALL_COMPLETED)
    assert [task.result() for task in done] == [True, True], "the window has grown to two"
    assert lane.under_way == 2
    leave(lane, 2)
    assert await waiting[2]


async def test_nobody_waits_for_a_lane_in_trouble() -> None:
    lane = Lane()
    await entered(lane, 1)
    lane.late()
    async with asyncio.timeout(0.05):
        assert not await lane.enter()
    leave(lane, 1)
    assert await lane.enter(), "it was late and not lost"


async def test_those_that_wait_are_sent_away_when_trouble_begins() -> None:
    lane = Lane()
    await entered(lane, 1)
    waiting = asyncio.create_task(lane.enter())
    await asyncio.sleep(0)
    leave(lane, 1, well=False)
    assert not await waiting
    assert lane.under_way == 0


async def test_a_lane_in_trouble_is_tried_now_and_then_and_ever_less() -> None:
    lane = Lane()
    loop = asyncio.get_running_loop()
    pauses = []
    for _ in range(3):
        await entered(lane, 1)
        assert not lane.may_probe
        leave(lane, 1, well=False)
        failed = loop.time()
        async with asyncio.timeout(5):
            while not lane.may_probe:  # noqa: ASYNC110  # time sets no event
                await asyncio.sleep(0.005)
        pauses.append(loop.time() - failed)
    assert pauses == pytest.approx([0.25, 0.5, 1.0], abs=0.2)
    await entered(lane, 1)
    leave(lane, 1)
    assert not lane.in_trouble


def test_probes_are_few_whatever_waits() -> None:
    probes = Probes()
    begun = [probes.take(1000.0) for _ in range(500)]
    assert begun.count(True) == 100
    assert [probes.take(1000.1) for _ in range(500)].count(True) == 20


async def test_a_waiter_that_is_cancelled_takes_no_place_along() -> None:
    lane = Lane()
    await entered(lane, 1)
    waiting = asyncio.create_task(lane.enter())
    await asyncio.sleep(0)
    lane.leave(0.01, well=True)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert lane.under_way == 0


async def in_trouble(seconds: float) -> tuple[Lane, float]:
    """A lane whose attempts take ten seconds and fail; and the time at which that has been so for `seconds`."""
    lane = Lane()
    lane.window = 64
    await entered(lane, 60)
    leave(lane, 60, 10.0, well=False)
    return lane, asyncio.get_running_loop().time() + seconds


async def test_turns_follow_each_other_at_the_lane_s_own_speed() -> None:
    lane, now = await in_trouble(300.0)
    turns = [lane.turn(now) for _ in range(4)]
    assert turns[0] == pytest.approx(1.0)
    steps = [later - earlier for earlier, later in pairwise(turns)]
    assert steps == pytest.approx([10.0] * 3, rel=0.01)


@pytest.mark.parametrize(("seconds", "longest"), [(0.0, 1.0), (300.0, 301.0), (86_400.0, 3600.0)])
async def test_a_turn_is_no_further_away_than_the_trouble_is_old(seconds: float, longest: float) -> None:
    lane, now = await in_trouble(seconds)
    assert max(lane.turn(now) for _ in range(1000)) == pytest.approx(longest, abs=0.5)


async def test_a_lane_that_is_well_is_expected_to_open() -> None:
    lane = Lane()
    turns = [lane.turn(100.0) for _ in range(6401)]
    assert turns[-1] - turns[0] == pytest.approx(100 * 0.05)


async def test_lanes_in_use_or_in_trouble_outlive_thousands_of_others() -> None:
    lanes = Lanes()
    busy, troubled = lanes.get("busy"), lanes.get("troubled")
    await entered(busy, 1)
    await entered(troubled, 1)
    leave(troubled, 1, well=False)
    for number in range(20_000):
        lanes.get(str(number))
    assert lanes.get("busy") is busy
    assert lanes.get("troubled") is troubled
    assert len(lanes._lanes) <= 10_001
