"""The audit of runs that were asked for together: from any place among their entries, exactly the rest."""

import pytest

from libs.events.groups import entry_of
from libs.events.log import EventLog
from libs.events.subjects import Kind, RunKey
from tests.audit.reader import audit, shown
from tests.audit.test_reading import Told, flow_head, write_change, write_story
from tests.events.grouped import ask_together, end_together, members
from tests.events.runs import completed, said


def told_of(run: RunKey, *types: str, first: int = 1) -> Told:
    return [(kind, run.run_id, seq, None) for seq, kind in enumerate(types, first)]


async def write_group(log: EventLog, workspace: str) -> tuple[list[RunKey], Told]:
    """Four runs of one group, of which one leaves and goes its own way; what the audit must tell."""
    runs = members(workspace, 4)
    one, *others = runs
    asked = await ask_together(log, runs)
    told = [each for run in runs for each in told_of(run, "run.requested")]
    after = await log.append(one, Kind.PROGRESS, said(one, 2, 3), after=asked)
    told += told_of(one, "node.delta", "node.delta", first=2)
    last = await log.last(entry_of(one))
    assert last is not None
    await end_together(log, others, last.sequence)
    told += [each for run in others for each in told_of(run, "run.completed", first=2)]
    await log.append(one, Kind.ENDED, completed(one, 4), after=after)
    told += told_of(one, "run.completed", first=4)
    return runs, told


async def test_everything_of_a_group_is_told_in_the_order_it_was_stored(log: EventLog, workspace: str) -> None:
    told = (await write_group(log, workspace))[1] + await write_story(log, workspace)
    told += (await write_group(log, workspace))[1]
    assert list(map(shown, await audit(log, workspace))) == told


async def test_from_every_position_exactly_the_rest_is_told(log: EventLog, workspace: str) -> None:
    told = (await write_group(log, workspace))[1]
    await write_change(log, flow := flow_head(workspace), "flow.created")
    told += [("flow.created", None, None, flow.id), *(await write_group(log, workspace))[1]]
    entries = await audit(log, workspace)
    assert len({entry.position for entry in entries}) == len(entries)
    for number, entry in enumerate(entries, 1):
        assert list(map(shown, await audit(log, workspace, after=entry.position))) == told[number:]


@pytest.mark.parametrize("kind", [None, "run", "run.completed"])
async def test_of_one_run_nothing_of_the_others_is_told_from_any_position(
    log: EventLog, workspace: str, kind: str | None
) -> None:
    runs, told = await write_group(log, workspace)
    await write_group(log, workspace)
    for run in runs:
        own = [each for each in told if each[1] == run.run_id and each[0].startswith(kind or "")]
        entries = await audit(log, workspace, run_id=run.run_id, type=kind)
        assert list(map(shown, entries)) == own
        for number, entry in enumerate(entries, 1):
            rest = await audit(log, workspace, run_id=run.run_id, type=kind, after=entry.position)
            assert list(map(shown, rest)) == own[number:]


async def test_a_run_that_the_group_does_not_hold_and_the_group_itself_have_no_entries(
    log: EventLog, workspace: str
) -> None:
    runs, _ = await write_group(log, workspace)
    (*_, missing) = members(workspace, 5, entry_of(runs[0]).run_id)
    assert await audit(log, workspace, run_id=missing.run_id) == []
    assert await audit(log, workspace, run_id=entry_of(runs[0]).run_id) == []
    assert await audit(log, f"{workspace}x", run_id=runs[0].run_id) == []
