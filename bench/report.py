"""The results as data: what one file in `bench/results/` holds, and how cells become rows."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Literal

import msgspec

from bench.machine import Machine
from bench.targets import Name
from cli.servers.nats import Fsync

Generator = Literal["wrk", "own"]
Call = Literal["sync", "submission"]
"""Answered when the run has ended, or when it is accepted."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured: every target, `rounds` times for `seconds`, at each number of connections and each fsync."""

    seconds: float
    warmup_seconds: float
    rounds: int
    connections: list[int]
    fsync: list[Fsync]
    generator: Generator = "own"
    everything: bool = False
    """Whether more than synchronous runs is measured: submissions, shapes, first words, streams."""
    million: bool = False
    """Whether it is measured again with a million runs in the log and in PostgreSQL."""
    peers: list[str] = []


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
    call: Call = "sync"


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


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Sync runs of another flow, at one number of connections."""

    name: str
    words: str
    fsync: Fsync
    connections: int
    runs_per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    cpu_milliseconds_per_run: dict[str, float]
    appends_per_run: float
    stored_bytes_per_run: float
    failures: int


class FirstWord(msgspec.Struct, frozen=True, kw_only=True):
    """From a call to the first word of its stream, and the model server's own share: medians of `calls`."""

    fsync: Fsync
    calls: int
    p50_milliseconds: float
    p99_milliseconds: float
    model_milliseconds: float


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """Events of a run of many nodes that has ended, read as event streams by `streams` callers at once."""

    streams: int
    events: int
    events_per_second: float
    first_milliseconds: float
    """Median, until the first event."""


class Million(msgspec.Struct, frozen=True, kw_only=True):
    """A product that was given many runs, in the log and in the runs table, beside one that has none."""

    fsync: Fsync
    runs: int
    fill_seconds: float
    empty: list[Row]
    full: list[Row]
    page_milliseconds: float
    """Median of a page of 20 runs of the runs table."""
    memory_empty_bytes: dict[str, int]
    memory_full_bytes: dict[str, int]
    log_bytes: int
    table_bytes: int


class PeerRow(msgspec.Struct, frozen=True, kw_only=True):
    """Another product at one number of connections, with its own durable steps where it has them."""

    peer: str
    version: str
    durable: str
    connections: int
    seconds: float
    generator: Generator
    runs_per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    failures: int


class Extras(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured besides synchronous runs, where it was asked for."""

    submissions: list[Cell] = []
    shapes: list[Shape] = []
    first_words: list[FirstWord] = []
    streams: list[Streams] = []
    million: Million | None = None
    peers: list[PeerRow] = []
    left_out: list[str] = []
    """What was asked for and could not be measured, and why."""


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
    submissions: list[Row] = []
    submission_ratios: list[Ratio] = []
    extras: Extras = Extras()

    @property
    def failures(self) -> int:
        """Answers that were not good ones; figures with any are worth nothing."""
        shapes = sum(shape.failures for shape in self.extras.shapes)
        return sum(cell.failures for cell in (*self.cells, *self.extras.submissions)) + shapes


def report(
    machine: Machine, plan: Plan, cells: Sequence[Cell], memory: Sequence[Memory], extras: Extras | None = None
) -> Report:
    """The report of what was measured."""
    extras = extras or Extras()
    rows, ratios = summed_up(plan, cells)
    submissions, submission_ratios = summed_up(plan, extras.submissions)
    return Report(
        machine=machine,
        plan=plan,
        rows=rows,
        ratios=ratios,
        memory=list(memory),
        cells=list(cells),
        submissions=submissions,
        submission_ratios=submission_ratios,
        extras=extras,
    )


def summed_up(plan: Plan, cells: Sequence[Cell]) -> tuple[list[Row], list[Ratio]]:
    """The medians of cells over the rounds, and product to floor where both are there."""
    rows: list[Row] = []
    ratios: list[Ratio] = []
    for fsync in plan.fsync:
        for connections in sorted({cell.connections for cell in cells}):
            here = [cell for cell in cells if cell.fsync == fsync and cell.connections == connections]
            both = [[cell for cell in here if cell.target == name] for name in ("floor", "product")]
            found = [row_of(each) for each in both if each]
            rows += found
            if len(found) == 2:
                ratios.append(_ratio(*found))
    return rows, ratios


def row_of(cells: Sequence[Cell]) -> Row:
    """The medians of one target's cells."""

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
