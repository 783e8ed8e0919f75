"""Carries out a plan: both targets stay up while they are asked in turn, so that the machine's moods meet both."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench import wrk
from bench.load import Load, LoadError, Order
from bench.report import Call, Cell, Generator, Memory, Plan
from bench.targets import ROOT, Target, floor_target, product_target, stored
from bench.usage import cpu_seconds, memory_bytes, settle
from cli.servers.nats import Fsync

_SETTLE_SECONDS = 5.0
_LOAD_GRACE_SECONDS = 25.0

Tell = Callable[[str], None]
"""Is told what is done next, once for each step."""


def steps_of(plan: Plan) -> int:
    """How many steps `measure` tells."""
    return len(plan.fsync) * (1 + 2 * plan.rounds * len(plan.connections))


Besides = Callable[[Fsync, list[Target]], None]
"""Measures more of what is up, floor and product."""


def measure(plan: Plan, data: Path, tell: Tell, besides: Besides | None = None) -> tuple[list[Cell], list[Memory]]:
    """Everything that the plan asks for, on empty data below `data`."""
    cells: list[Cell] = []
    memory: list[Memory] = []
    for fsync in plan.fsync:
        tell(f"fsync {fsync}: starting")
        with ExitStack() as stack:
            targets = [
                stack.enter_context(floor_target(data / fsync / "floor", fsync)),
                stack.enter_context(product_target(data / fsync / "product", fsync)),
            ]
            for target in targets:
                settle(target.processes, _SETTLE_SECONDS)
            idle = [memory_bytes(target.processes) for target in targets]
            cells += _measure_rounds(plan, fsync, targets, tell)
            for target, before in zip(targets, idle, strict=True):
                after = memory_bytes(target.processes)
                memory.append(Memory(target=target.name, fsync=fsync, idle_bytes=before, loaded_bytes=after))
            if besides is not None:
                besides(fsync, targets)
    return cells, memory


def _measure_rounds(plan: Plan, fsync: Fsync, targets: list[Target], tell: Tell) -> list[Cell]:
    cells = []
    for number in range(1, plan.rounds + 1):
        for connections in plan.connections:
            for target in targets:
                tell(f"fsync {fsync}: round {number}, {connections} connections, {target.name}")
                cells.append(measure_once(plan, fsync, connections, number, target))
    return cells


def measure_once(plan: Plan, fsync: Fsync, connections: int, number: int, target: Target, call: Call = "sync") -> Cell:
    """One cell: the load, and what it cost until everything was still again."""
    order = order_of(target, connections, plan.seconds, plan.warmup_seconds)
    stored_before, cpu_before = stored(target), cpu_seconds(target.processes)
    load = generate(order, plan.generator)
    settle(target.processes, _SETTLE_SECONDS)
    stored_after, cpu_after = stored(target), cpu_seconds(target.processes)
    runs = max(1, load.answered)
    cpu = {name: (cpu_after[name] - cpu_before[name]) * 1000 / runs for name in cpu_after}
    return Cell(
        target=target.name,
        fsync=fsync,
        connections=connections,
        round=number,
        runs=load.counted,
        failures=load.failures,
        runs_per_second=load.counted / load.seconds,
        p50_milliseconds=load.p50_milliseconds,
        p99_milliseconds=load.p99_milliseconds,
        cpu_milliseconds_per_run={**cpu, "load": load.cpu_seconds * 1000 / runs},
        appends_per_run=(stored_after.messages - stored_before.messages) / runs,
        stored_bytes_per_run=(stored_after.bytes - stored_before.bytes) / runs,
        call=call,
    )


def order_of(target: Target, connections: int, seconds: float, warmup_seconds: float = 0.0) -> Order:
    """Its call, over so many connections for so long."""
    return Order(
        port=target.port,
        path=target.path,
        headers=target.headers,
        body=target.body,
        expect=target.expect,
        status=target.status,
        connections=connections,
        seconds=seconds,
        warmup_seconds=warmup_seconds,
    )


def generate(order: Order, generator: Generator = "own") -> Load:
    """Have a generator's process carry out an order. LoadError when it fails, or complains."""
    if generator == "wrk" and wrk.suits(order):
        return wrk.generate(order)
    done = subprocess.run(
        [sys.executable, "-m", "bench.load"],
        cwd=ROOT,
        input=msgspec.json.encode(order),
        capture_output=True,
        timeout=order.warmup_seconds + order.seconds + order.patience_seconds + _LOAD_GRACE_SECONDS,
        check=False,
    )
    if done.returncode != 0 or done.stderr:
        raise LoadError(done.stderr.decode(errors="replace")[-2000:])
    return msgspec.json.decode(done.stdout, type=Load)
