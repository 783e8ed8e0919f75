"""The results as data: what one file in `bench/results/` holds, and how cells become rows."""

from collections.abc import Callable, Sequence
from statistics import median

import msgspec

from bench.machine import Machine
from bench.targets import Name
from cli.servers.nats import Fsync


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured: every target, `rounds` times for `seconds`, at each number of connections and each fsync."""

    seconds: float
    warmup_seconds: float
    rounds: int
    connections: list[int]
    fsync: list[Fsync]


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement. What is counted per run counts the warm-up, too; CPU includes what is done after the answer."""

    target: Name
    fsync: Fsync
    connections: int
    round: int
    runs: int
    failures: int
    runs_per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    cpu_milliseconds_per_run: dict[str, float]
    """By process; `load` is the generator."""
    appends_per_run: float
    stored_bytes_per_run: float


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The medians of a target's cells over the rounds."""

    target: Name
    fsync: Fsync
    connections: int
    runs_per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    cpu_milliseconds_per_run: dict[str, float]
    appends_per_run: float
    stored_bytes_per_run: float
    failures: int
    """Of all rounds together."""


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """Product to floor, by their medians: of runs per second (1 is the floor's), and of the two latencies."""

    fsync: Fsync
    connections: int
    runs_per_second: float
    p50: float
    p99: float


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Resident bytes of a target's processes, before the first request and after the last."""

    target: Name
    fsync: Fsync
    idle_bytes: dict[str, int]
    loaded_bytes: dict[str, int]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the benchmark."""

    machine: Machine
    plan: Plan
    rows: list[Row]
    ratios: list[Ratio]
    memory: list[Memory]
    cells: list[Cell]

    @property
    def failures(self) -> int:
        """Answers that were not good ones; figures with any are worth nothing."""
        return sum(cell.failures for cell in self.cells)


def report(machine: Machine, plan: Plan, cells: Sequence[Cell], memory: Sequence[Memory]) -> Report:
    """The report of what was measured."""
    rows: list[Row] = []
    ratios: list[Ratio] = []
    for fsync in plan.fsync:
        for connections in plan.connections:
            here = [cell for cell in cells if cell.fsync == fsync and cell.connections == connections]
            floor = _row([cell for cell in here if cell.target == "floor"])
            product = _row([cell for cell in here if cell.target == "product"])
            rows += [floor, product]
            ratios.append(_ratio(floor, product))
    return Report(machine=machine, plan=plan, rows=rows, ratios=ratios, memory=list(memory), cells=list(cells))


def _row(cells: Sequence[Cell]) -> Row:
    def middle(value: Callable[[Cell], float]) -> float:
        return median(map(value, cells))

    first = cells[0]
    processes = first.cpu_milliseconds_per_run
    return Row(
        target=first.target,
        fsync=first.fsync,
        connections=first.connections,
        runs_per_second=middle(lambda cell: cell.runs_per_second),
        p50_milliseconds=middle(lambda cell: cell.p50_milliseconds),
        p99_milliseconds=middle(lambda cell: cell.p99_milliseconds),
        cpu_milliseconds_per_run={
            name: median(cell.cpu_milliseconds_per_run[name] for cell in cells) for name in processes
        },
        appends_per_run=middle(lambda cell: cell.appends_per_run),
        stored_bytes_per_run=middle(lambda cell: cell.stored_bytes_per_run),
        failures=sum(cell.failures for cell in cells),
    )


def _ratio(floor: Row, product: Row) -> Ratio:
    def of(value: Callable[[Row], float]) -> float:
        return value(product) / value(floor) if value(floor) else 0.0

    return Ratio(
        fsync=floor.fsync,
        connections=floor.connections,
        runs_per_second=of(lambda row: row.runs_per_second),
        p50=of(lambda row: row.p50_milliseconds),
        p99=of(lambda row: row.p99_milliseconds),
    )
