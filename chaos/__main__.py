"""`python -m chaos`: play the faults one after the other, show the table, keep it."""

import asyncio
import math
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.machine import describe
from chaos.fault import Fault, Outcome
from chaos.faults import FAULTS
from chaos.play import Tell, play, prepared
from chaos.table import Report, keep, show

_ROOT = Path(__file__).resolve().parents[1]


def chaos(
    fault: Annotated[list[str] | None, typer.Option(help="Play this fault alone; may be given several times.")] = None,
    scale: Annotated[float, typer.Option(min=0.001, help="The share of each fault's counts.")] = 1.0,
    callers: Annotated[int, typer.Option(min=1, max=256, help="Calls that are open at the same time.")] = 12,
    print_json: Annotated[bool, typer.Option("--json", help="Print the outcomes as JSON instead of a table.")] = False,
    page: Annotated[bool, typer.Option(help="Put the table into docs/chaos.md; only for all faults.")] = False,
) -> None:
    """Break the stack from outside and tell what became of the runs; exit code 1 unless all is as promised."""
    names = [each.name for each in FAULTS]
    for name in fault or []:
        if name not in names:
            raise typer.BadParameter(f"{name} is none of {', '.join(names)}", param_hint="--fault")
    chosen = [each for each in FAULTS if not fault or each.name in fault]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # contexts are left: nothing stays
    with _data() as data:
        machine = describe(data, _ROOT)
        outcomes = [_outcome(each, data / each.name, scale, callers) for each in chosen]
    report = Report(machine=machine, scale=scale, outcomes=outcomes)
    if print_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n")
    else:
        show(outcomes, Console())
    if page:
        keep(report)
    if not report.clean:
        raise typer.Exit(1)


def _outcome(fault: Fault, data: Path, scale: float, callers: int) -> Outcome:
    times, runs = max(1, math.ceil(fault.times * scale)), max(1, math.ceil(fault.runs * scale))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        shown = progress.add_task(fault.name, total=times)

        def tell(struck: int, asked: int) -> None:
            progress.update(shown, completed=struck, description=f"{fault.name}, {asked} runs")

        return asyncio.run(_play(fault, data, times=times, runs=runs, callers=callers, tell=tell))


async def _play(fault: Fault, data: Path, *, times: int, runs: int, callers: int, tell: Tell) -> Outcome:
    async with prepared(fault, data) as stage:
        return await play(fault, stage, times=times, runs=runs, callers=callers, tell=tell)


@contextmanager
def _data() -> Iterator[Path]:
    """A directory for the stacks' data, removed afterwards: here, for a directory of the system may be memory."""
    build = _ROOT / "build"
    build.mkdir(exist_ok=True)
    data = Path(tempfile.mkdtemp(prefix="chaos-", dir=build))
    try:
        yield data
    finally:
        shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    typer.run(chaos)
