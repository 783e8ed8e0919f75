"""Short forms of `make chaos`: the faults that no other test injects, under its load and before its judge.

The others stand elsewhere: executors killed and asleep in `e2e/test_takeover.py`, everything at once in
`e2e/test_restart.py`, nats-server and PostgreSQL killed in `e2e/test_outages.py`, orderly stops one by one in
`e2e/test_shutdown.py`.
"""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from chaos.fault import Fault, Outcome
from chaos.faults import auth_kill, full_disk, gateway_kill, leader_kill, notifier_kill, rolling_restart, tables_away
from chaos.play import play, prepared
from chaos.stage import Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLERS = 6
COUNTS = {"gateways": 2, "auths": 2, "executors": 2, "notifiers": 2}
STRIKES = (
    gateway_kill.strike,
    auth_kill.strike,
    notifier_kill.strike,
    tables_away.strike,
    tables_away.strike,
    tables_away.strike,
    full_disk.strike,
)


async def _each_in_turn(stage: Stage, nth: int) -> None:
    await STRIKES[nth](stage, nth)


ALL = Fault(name="all", says="each in turn", times=len(STRIKES), runs=40, strike=_each_in_turn, counts=COUNTS)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One stack for all faults but those of a cluster; each play leaves it whole."""
    async with prepared(ALL, tmp_path_factory.mktemp("chaos")) as found:
        yield found


async def test_processes_that_die_tables_that_go_away_and_a_full_disk_lose_double_and_falsify_nothing(
    stage: Stage,
) -> None:
    outcome = await _played(ALL, stage)
    assert outcome.times >= len(STRIKES)
    assert outcome.runs >= ALL.runs


async def test_a_rolling_restart_of_every_service_breaks_off_no_call(stage: Stage) -> None:
    fault = rolling_restart.FAULT
    outcome = await _played(fault, stage, times=sum(COUNTS.values()))
    assert outcome.times == sum(COUNTS.values())


async def test_a_cluster_that_loses_its_leader_loses_no_run(tmp_path_factory: pytest.TempPathFactory) -> None:
    fault = leader_kill.FAULT
    async with prepared(fault, tmp_path_factory.mktemp("cluster")) as stage:
        await _played(fault, stage, times=1)


async def _played(fault: Fault, stage: Stage, times: int | None = None) -> Outcome:
    outcome = await play(fault, stage, times=times or fault.times, runs=40, callers=CALLERS, tell=lambda *_: None)
    assert (outcome.lost, outcome.doubled, outcome.wrong) == ([], [], [])
    assert 0 < outcome.recovery_seconds < 30
    return outcome
