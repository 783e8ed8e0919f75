"""`python -m tests.soak --runs 200000`: the memory of every process over so many runs, and whether it grows.

Not a test: it takes as long as the runs do. NATS keeps every run and some memory for each, PostgreSQL its caches; what
must not grow with the runs that are over is ours.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.flows.documents import greeter
from tests.fuzz.workspace import asked
from tests.stack import Stack

_AT_ONCE = 16
_SAMPLES = 40
_THEIRS = ("nats", "postgres")
_ALLOWED_KIB = 2048.0
"""Of growth in 10,000 runs, over the second half: caches and heaps have filled by then."""

Sample = dict[str, float]
"""KiB by process."""


def main() -> int:
    """0 when no process of ours grows, else 1."""
    arguments = argparse.ArgumentParser(prog="make soak", description=__doc__)
    arguments.add_argument("--runs", type=int, default=200_000)
    runs = arguments.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="headgate-soak-") as data, Stack(Path(data)) as stack:
        flow = asked(f"{stack.url}/v1/flows", stack.admin_key, "POST", greeter())
        asked(f"{stack.url}/v1/flows/{flow['id']}/deployments", stack.admin_key, "POST", {})
        samples = asyncio.run(_soak(stack, runs))
    return _told(samples, runs)


async def _soak(stack: Stack, runs: int) -> list[Sample]:
    columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    part = max(1, runs // _SAMPLES)
    samples: list[Sample] = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("runs", total=part * _SAMPLES)
        async with aiohttp.ClientSession(headers=stack.headers) as session:
            for _ in range(_SAMPLES):
                left = iter(range(part))
                await asyncio.gather(*[_call(session, stack, left, progress, task) for _ in range(_AT_ONCE)])
                samples.append(_memory(stack))
    return samples


async def _call(session: aiohttp.ClientSession, stack: Stack, left: object, progress: Progress, task: object) -> None:
    for _ in left:  # type: ignore[attr-defined]  # one iterator for all callers
        async with session.post(f"{stack.url}/v1/deployments/greeter/runs", json={"input": {"name": "Ada"}}) as answer:
            if answer.status != 200:
                raise RuntimeError(f"a run was answered {answer.status}: {await answer.text()}")
            await answer.read()
        progress.advance(task)  # type: ignore[arg-type]  # rich's own number


def _memory(stack: Stack) -> Sample:
    """What each process holds itself (RSS without what it maps from files)."""
    found: Sample = {}
    for each in stack.processes():
        status = Path(f"/proc/{each['pid']}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("RssAnon"))
        found[f"{each['service']}-{each['index']}"] = float(line.split()[1])
    return found


def slope(values: list[float]) -> float:
    """The growth from one value to the next, by least squares."""
    middle = (len(values) - 1) / 2
    mean = sum(values) / len(values)
    above = sum((place - middle) * (value - mean) for place, value in enumerate(values))
    return above / sum((place - middle) ** 2 for place in range(len(values)))


def _told(samples: list[Sample], runs: int) -> int:
    table = Table("process", "first MiB", "last MiB", "KiB / 10,000 runs", "")
    grows = False
    for process in samples[0]:
        values = [sample[process] for sample in samples if process in sample]
        growth = slope(values[len(values) // 2 :]) * _SAMPLES / runs * 10_000
        theirs = process.startswith(_THEIRS)
        wrong = not theirs and (growth > _ALLOWED_KIB or len(values) < len(samples))
        grows = grows or wrong
        verdict = "keeps the runs" if theirs else "GROWS" if wrong else "flat"
        table.add_row(process, f"{values[0] / 1024:.1f}", f"{values[-1] / 1024:.1f}", f"{growth:.0f}", verdict)
    Console(width=100).print(table)
    return 1 if grows else 0


if __name__ == "__main__":
    sys.exit(main())
