"""What an executor has to say about a run, when the run is not its own any more."""

import asyncio
import gc
from typing import Any

import pytest

from libs.events.appends import Conflict
from libs.events.log import EventLog
from libs.events.run import begin
from libs.events.run_events import Append, RequestedData, RunRequested
from libs.events.subjects import Kind, RunKey
from libs.runtime.ids import new_id
from services.executor import saying
from services.executor.journal import Journal, utc_now
from services.executor.masking import Mask


async def superseded(log: EventLog) -> Journal:
    """The journal of a run that somebody else has gone on with."""
    run = RunKey(new_id("ws"), new_id("run"))
    data = RequestedData(flow_id="flow_1", deployment_id="dep_1", version=1, input={}, mode="async")
    asked = RunRequested(seq=1, run_id=run.run_id, at=utc_now(), data=data)
    first = await log.append(run, Kind.REQUESTED, Append(by="key_1", events=[asked]), after=0)
    for name in ("executor-1", "executor-2"):
        journal = Journal(log, run, begin(asked), first, name, None, Mask())
        saying.run_started(journal, name)
        if name == "executor-1":
            await journal.flush()
    return journal


async def test_an_append_that_is_refused_says_so_to_whoever_waits(log: EventLog) -> None:
    journal = await superseded(log)

    for _ in range(2):
        with pytest.raises(Conflict):
            await journal.flush()


async def test_a_refusal_that_nobody_waits_for_any_more_is_no_defect(log: EventLog) -> None:
    defects: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: defects.append(context))
    journal = await superseded(log)
    for waits in (journal.flush, journal.close):
        waiting = asyncio.create_task(waits())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    appends = [task for task in asyncio.all_tasks() if "_append_pending" in str(task.get_coro())]
    await asyncio.wait(appends)

    del journal, waiting, waits, appends
    gc.collect()
    assert defects == []
