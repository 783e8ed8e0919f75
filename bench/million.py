"""The same throughput with many runs in the log and in PostgreSQL: `make bench MILLION=1`.

The runs are asked for as they are when they are measured, over HTTP, so the log is what a busy installation's is.
Filled with as many that were asked for by themselves, with two subjects each, it costs more: docs/capacity.md has both.
"""

import time
import urllib.request
from pathlib import Path
from statistics import median

from bench.load import LoadError
from bench.measure import Tell, generate, measure_once, order_of
from bench.report import Million, Plan, Row, row_of
from bench.targets import Target, product_target, stored
from bench.usage import memory_bytes, settle
from cli.servers.nats import Fsync

RUNS = 1_000_000

_STRETCH_SECONDS = 10.0
_CONNECTIONS = (1, 64)
_PAGES = 50
_CATCH_UP_SECONDS = 1800.0


def steps_of(plan: Plan) -> int:
    """How many steps `measure_million` tells."""
    return 2 + 2 * len(_CONNECTIONS) * plan.rounds


def measure_million(plan: Plan, fsync: Fsync, data: Path, tell: Tell, runs: int = RUNS) -> Million:
    """Measure, fill, measure again."""
    with product_target(data / "million", fsync) as product:
        settle(product.processes, 5.0)
        before, memory_before = _rows(plan, fsync, product, tell, "before"), memory_bytes(product.processes)
        tell(f"fsync {fsync}: {runs:,} runs are written")
        began = time.monotonic()
        _fill(product, plan, runs)
        settle(product.processes, _CATCH_UP_SECONDS)
        filled = time.monotonic() - began
        tell(f"fsync {fsync}: pages of the runs table")
        pages = sorted(_page(product) for _ in range(_PAGES))
        after = _rows(plan, fsync, product, tell, "after")
        return Million(
            fsync=fsync,
            runs=runs,
            fill_seconds=filled,
            before=before,
            after=after,
            page_milliseconds=median(pages) * 1000,
            memory_before_bytes=memory_before,
            memory_after_bytes=memory_bytes(product.processes),
            log_bytes=stored(product).bytes,
            table_bytes=_size(data / "million" / "postgres"),
        )


def _rows(plan: Plan, fsync: Fsync, product: Target, tell: Tell, when: str) -> list[Row]:
    found = []
    for connections in _CONNECTIONS:
        cells = []
        for number in range(1, plan.rounds + 1):
            tell(f"fsync {fsync}: {when} the million, {connections} connections, round {number}")
            cells.append(measure_once(plan, fsync, connections, number, product))
        found.append(row_of(cells))
    return found


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
