"""Plays one fault: load and strikes side by side, then the wait for the last run, then the judgement."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from chaos.cluster import cluster
from chaos.fault import Fault, Outcome
from chaos.load import Load, histories
from chaos.recorder import HELD
from chaos.stage import CONCURRENT_RUNS, Stage, Tenant, staging, until
from chaos.verdict import ENDS, Ask, Verdict, broken_off, judge, recovery_seconds
from tests.stack import Stack

SETTLE_SECONDS = 30.0
"""What is promised: an accepted run has its end within this time of an executor being available."""

_DEFECTS = ("request failed", "handler failed", "dead letter", "Traceback")
_COUNTS = {"gateways": 2, "executors": 3}

Tell = Callable[[int, int], None]
"""Called with how often it was struck, and how many runs there are."""


@asynccontextmanager
async def prepared(fault: Fault, data: Path) -> AsyncIterator[Stage]:
    """The stage of a fault, alone on its stack."""
    async with AsyncExitStack() as contexts:
        nodes, env = None, dict(fault.env)
        if fault.cluster:
            nodes = await contexts.enter_async_context(cluster(data / "cluster"))
            env |= {"HEADGATE_NATS_URL": nodes.url, "HEADGATE_REPLICAS": "3"}
        stack = Stack(data, **(_COUNTS | fault.counts), env=env)
        yield await contexts.enter_async_context(staging(stack, nodes))


async def play(fault: Fault, stage: Stage, *, times: int, runs: int, callers: int, tell: Tell) -> Outcome:
    """Strike `times` times, evenly over `runs` runs or more; afterwards the stack is whole again."""
    began = time.monotonic()
    stage.begin()
    load = Load(stage, callers)

    async def strikes() -> None:
        for nth in range(times):
            await load.asked(max(callers + 1, nth * runs // times))
            await fault.strike(stage, nth)
            tell(nth + 1, len(load.asks))

    striking = asyncio.create_task(strikes())
    await load.run(lambda: striking.done() and (len(load.asks) >= runs or striking.exception() is not None))
    await striking
    await stage.whole()
    stage.wrong += await _leaked_slots(stage)
    untold = await _untold(stage, load.crowd)
    asks = [*load.asks, *load.crowd, *untold]
    found = await _settled(stage, asks)
    verdict = judge(asks, found, stage.recorder.calls, concurrent_runs=CONCURRENT_RUNS)
    verdict.wrong += [*stage.wrong, *stage.free.client.bad, *stage.limited.client.bad]
    if fault.orderly:
        verdict.wrong += [f"{run_id}: nobody was told of it" for ask in untold for run_id in ask.run_ids]
        for client in (stage.free.client, stage.limited.client):
            verdict.wrong += broken_off(client.broken, load.asks, found)
    verdict.wrong += await _missing_rows(stage, load.asks, [*load.crowd, *untold])
    verdict.wrong += _defects(stage.stack)
    return _outcome(fault, stage, asks, found, verdict, time.monotonic() - began)


def _outcome(
    fault: Fault,
    stage: Stage,
    asks: list[Ask],
    found: dict[str, list[dict[str, Any]]],
    verdict: Verdict,
    seconds: float,
) -> Outcome:
    return Outcome(
        name=fault.name,
        says=fault.says,
        times=len(stage.struck),
        runs=len(found),
        lost=verdict.lost,
        doubled=verdict.doubled,
        wrong=verdict.wrong,
        recovery_seconds=recovery_seconds(stage.struck, asks, found),
        seconds=seconds,
        retries=dict(stage.free.client.retries + stage.limited.client.retries),
    )


async def _settled(stage: Stage, asks: list[Ask]) -> dict[str, list[dict[str, Any]]]:
    """The histories, once every run has its end or the promised time is over."""
    found = await histories(stage, asks)
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        open_runs = {run_id for run_id, events in found.items() if not events or events[-1]["type"] not in ENDS}
        if not open_runs:
            break
        await asyncio.sleep(0.2)
        found |= await histories(stage, [ask for ask in asks if ask.run_ids & open_runs])
    return found


async def _leaked_slots(stage: Stage) -> list[str]:
    """Every slot of the limited tenant can be had again, and not one more."""
    stage.recorder.hold()
    path, client = stage.limited.path, stage.limited.client
    started = 0

    async def full() -> bool:
        nonlocal started
        body = {"input": {"text": f"{HELD}-{started}"}, "mode": "async"}
        started += await client.once("POST", path, body, gateway=started, key=f"slot-{time.time_ns()}") == 202
        return started == CONCURRENT_RUNS

    try:
        await until(full, f"all {CONCURRENT_RUNS} slots free")
        body = {"input": {"text": f"{HELD}-more"}, "mode": "async"}
        status = await client.once("POST", path, body, gateway=1)
    except TimeoutError:
        return [f"{CONCURRENT_RUNS - started} of {CONCURRENT_RUNS} slots leaked"]
    finally:
        stage.recorder.release()
    return [] if status == 429 else [f"one run more than the limit was answered {status}"]


async def _untold(stage: Stage, crowd: list[Ask]) -> list[Ask]:
    """The crowd's runs of which nobody was told, because a call broke off: they have their ends all the same.

    With one of a call that was told of another run that other one is named, too: then there are two.
    """
    told = {ask.key: ask.run_ids for ask in crowd}
    rows = [(run["id"], run["input"]["text"]) for run in await _rows(stage.crowd)]
    return [
        Ask(number=0, key=key, limited=False, run_ids={run_id, *told[key]})
        for run_id, key in rows
        if key in told and run_id not in told[key]
    ]


async def _missing_rows(stage: Stage, asks: list[Ask], crowd: list[Ask]) -> list[str]:
    """The runs table has each run once, as ended."""
    wrong = []
    free, limited = [ask for ask in asks if not ask.limited], [ask for ask in asks if ask.limited]
    for tenant, theirs in ((stage.free, free), (stage.limited, limited), (stage.crowd, crowd)):
        wanted = sorted(run_id for ask in theirs for run_id in ask.run_ids)
        deadline = time.monotonic() + SETTLE_SECONDS
        listed = await _listed(tenant, set(wanted))
        while listed != wanted and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            listed = await _listed(tenant, set(wanted))
        if listed != wanted:
            wrong.append(f"the runs table has {len(listed)} rows of {len(wanted)} runs")
    return wrong


async def _listed(tenant: Tenant, wanted: set[str]) -> list[str]:
    """Those of the runs that the table has, and has as ended."""
    return sorted(run["id"] for run in await _rows(tenant) if run["id"] in wanted and run["finished_at"])


async def _rows(tenant: Tenant) -> list[dict[str, Any]]:
    found, cursor = [], ""
    while cursor is not None:
        path = f"/v1/runs?deployment_id={tenant.deployment}&limit=100&cursor={cursor}"
        page = (await tenant.client.call("GET", path)).body
        found += page["data"]
        cursor = page["next_cursor"]
    return found


def _defects(stack: Stack) -> list[str]:
    """What the services logged that no fault from outside may cause."""
    logs = [path.read_text() for path in (stack.data / "logs").glob("*.log") if not path.name.startswith("postgres")]
    lines = [line for text in logs for line in text.splitlines() if any(mark in line for mark in _DEFECTS)]
    return [f"logged: {line[:300]}" for line in lines]
