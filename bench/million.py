"""The same throughput with many runs in the log and in PostgreSQL: `make bench MILLION=1`.

The runs are asked for as they are when they are measured, over HTTP, so the log is what a busy installation's is.
Filled with as many that were asked for by themselves, with two subjects each, it costs more: docs/capacity.md has both.
"""

import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench.load import LoadError
from bench.measure import Tell, generate, measure_once, order_of
from bench.report import Cell, Million, Plan, Row, row_of
from bench.targets import Target, product_target, stored
from bench.usage import memory_bytes, settle
from cli.servers.nats import Fsync

RUNS = 1_000_000

_STRETCH_SECONDS = 10.0
_CONNECTIONS = (1, 64)
_PAGES = 50
_CATCH_UP_SECONDS = 1800.0
_START_SECONDS = 5.0


def steps_of(plan: Plan) -> int:
    """How many steps `measure_million` tells."""
    return 2 + 2 * len(_CONNECTIONS) * plan.rounds


def measure_million(plan: Plan, fsync: Fsync, data: Path, tell: Tell, runs: int = RUNS) -> Million:
    """Fill one product, start another, and measure both in turn, so that the machine's moods meet both."""
    with ExitStack() as stack:
        full = stack.enter_context(product_target(data / "million", fsync))
        tell(f"fsync {fsync}: {runs:,} runs are written")
        began = time.monotonic()
        _fill(full, plan, runs)
        settle(full.processes, _CATCH_UP_SECONDS)
        filled = time.monotonic() - began
        tell(f"fsync {fsync}: pages of the runs table")
        pages = sorted(_page(full) for _ in range(_PAGES))
        empty = stack.enter_context(product_target(data / "empty", fsync))
        settle(empty.processes, _START_SECONDS)
        rows = [_rows(plan, fsync, connections, (empty, full), tell) for connections in _CONNECTIONS]
        return Million(
            fsync=fsync,
            runs=runs,
            fill_seconds=filled,
            empty=[row for row, _ in rows],
            full=[row for _, row in rows],
            page_milliseconds=median(pages) * 1000,
            memory_empty_bytes=memory_bytes(empty.processes),
            memory_full_bytes=memory_bytes(full.processes),
            log_bytes=stored(full).bytes,
            table_bytes=_size(data / "million" / "postgres"),
        )


def _rows(plan: Plan, fsync: Fsync, connections: int, targets: tuple[Target, Target], tell: Tell) -> tuple[Row, Row]:
    empty, full = list[Cell](), list[Cell]()
    for number in range(1, plan.rounds + 1):
        for cells, target, which in ((empty, targets[0], "without"), (full, targets[1], "with")):
            tell(f"fsync {fsync}: {which} the million, {connections} connections, round {number}")
            cells.append(measure_once(plan, fsync, connections, number, target))
    return row_of(empty), row_of(full)


def _page(product: Target) -> float:
    """Seconds that a page of 20 takes."""
    request = urllib.request.Request(f"http://127.0.0.1:{product.port}/v1/runs?limit=20", headers=product.headers)
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()
    return time.perf_counter() - began


def _fill(product: Target, plan: Plan, runs: int) -> None:
    """Runs as callers ask for them, over as many connections as are measured with."""
    order, written = order_of(product, max(_CONNECTIONS), _STRETCH_SECONDS), 0
    while written < runs:
        load = generate(order, plan.generator)
        if not load.answered or load.failures:
            raise LoadError(f"{load.failures} calls failed while the log was filled, {load.answered} were answered")
        written += load.answered


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
