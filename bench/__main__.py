"""`python -m bench`: measure, show, keep."""

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

from bench import wrk
from bench.chart import draw
from bench.everything import measure_all, steps_of
from bench.machine import describe
from bench.peers import PEERS
from bench.report import Generator, Plan, Report, report
from bench.table import show
from bench.targets import ROOT
from cli.servers.nats import Fsync

_WARMUP_SECONDS = 0.5
_RESULTS = Path(__file__).parent / "results"


def bench(
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each measurement counts.")] = 3.0,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is repeated; medians are shown.")] = 3,
    connections: Annotated[list[int] | None, typer.Option(min=1, max=1024, help="1, 16 and 64 by default.")] = None,
    fsync: Annotated[list[str] | None, typer.Option(help="always, interval; both by default.")] = None,
    output: Annotated[Path, typer.Option(help="Where the JSON and the chart go.")] = _RESULTS,
    print_json: Annotated[bool, typer.Option("--json", help="Print the JSON instead of tables.")] = False,
    everything: Annotated[bool, typer.Option(help="Also submissions, other shapes, first words, streams.")] = False,
    million: Annotated[bool, typer.Option(help="Also the same with a million runs in log and table.")] = False,
    generator: Annotated[str, typer.Option(help="wrk where it is installed, own otherwise.")] = "",
    peer: Annotated[list[str] | None, typer.Option(help=f"Other products besides: {', '.join(PEERS)}.")] = None,
) -> None:
    """Measure sync runs of the four-node flow, and the same without product code, in turn on this machine."""
    plan = Plan(
        seconds=seconds,
        warmup_seconds=_WARMUP_SECONDS,
        rounds=rounds,
        connections=sorted(set(connections or (1, 16, 64))),
        fsync=_fsync_of(fsync or ["always", "interval"]),
        generator=_generator_of(generator),
        everything=everything,
        million=million,
        peers=_peers_of(peer or []),
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # contexts are left: nothing stays
    found = _measured(plan)
    encoded = msgspec.json.format(msgspec.json.encode(found), indent=2)
    written = _keep(found, encoded, output)
    if print_json:
        sys.stdout.write(encoded.decode() + "\n")
    else:
        show(found, Console())
    Console(stderr=True).print(f"Written: {written}.json and {written.name}.svg", soft_wrap=True)
    if found.failures:
        raise typer.Exit(1)


def _generator_of(name: str) -> Generator:
    if name not in ("", "own", "wrk"):
        raise typer.BadParameter("it is either wrk or own", param_hint="--generator")
    if name == "wrk" and not wrk.available():
        raise typer.BadParameter(wrk.HOW_TO_GET_IT, param_hint="--generator")
    if not name and not wrk.available():
        Console(stderr=True).print(f"{wrk.HOW_TO_GET_IT}: measuring with our own generator, which costs more CPU.")
    return "wrk" if name == "wrk" or (not name and wrk.available()) else "own"


def _peers_of(names: list[str]) -> list[str]:
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise typer.BadParameter(f"not known: {', '.join(unknown)}; there are {', '.join(PEERS)}", param_hint="--peer")
    return list(dict.fromkeys(names))


def _fsync_of(names: list[str]) -> list[Fsync]:
    try:
        return msgspec.convert(list(dict.fromkeys(names)), list[Fsync])
    except msgspec.ValidationError:
        raise typer.BadParameter("it is either always or interval", param_hint="--fsync") from None


def _measured(plan: Plan) -> Report:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with _data() as data, Progress(*columns, console=Console(stderr=True)) as progress:
        machine = describe(data, ROOT)
        shown = progress.add_task("", total=steps_of(plan))
        begun = 0

        def tell(step: str) -> None:
            nonlocal begun
            progress.update(shown, description=step, completed=begun)
            begun += 1

        found = measure_all(plan, data, tell)
        progress.update(shown, description="measured", completed=begun)
    return report(machine, plan, *found)


@contextmanager
def _data() -> Iterator[Path]:
    """A directory for the servers' files, removed afterwards: here and not in /tmp, which may be memory."""
    parent = ROOT / "build"
    parent.mkdir(exist_ok=True)
    data = Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
    try:
        yield data
    finally:
        shutil.rmtree(data, ignore_errors=True)


def _keep(found: Report, encoded: bytes, output: Path) -> Path:
    """Write both files; their common path without the ending."""
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"{found.machine.measured_at:%Y-%m-%dT%H%M%SZ}"
    path.with_suffix(".json").write_bytes(encoded + b"\n")
    path.with_suffix(".svg").write_text(draw(found))
    return path


if __name__ == "__main__":
    typer.run(bench)
