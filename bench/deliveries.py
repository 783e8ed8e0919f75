"""`python -m bench.deliveries`: how many deliveries a second a notifier makes, and what bad receivers do to good ones.

The stack runs as users run it, one process of each service. *Backlog*: runs end while the notifier stands still
(SIGSTOP); then it goes on, and everything is delivered to a receiver that keeps up. *Company*: a good webhook among one
that hangs and hundreds that fail, all told of the same runs; how late is the good one, from the event to its arrival,
beside the same load with the good one alone. It takes about two minutes and stops by itself.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from bench.machine import Machine, describe
from bench.targets import ROOT
from bench.usage import cpu_seconds
from cli.ports import random_port
from cli.servers.nats import Fsync
from tests.stack import Stack

_RESULTS = Path(__file__).parent / "results"
_FLOWS = ROOT / "examples" / "flows"
_PATIENCE_SECONDS = 120.0
_EVENTS = ["flow_completed"]


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries of runs that had ended before."""

    deliveries: int
    per_second: float
    cpu_microseconds: dict[str, float]
    """For each delivery, by process."""


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """From event to arrival at the good receiver, in milliseconds, of `arrived` out of `expected`."""

    bad_receivers: int
    expected: int
    arrived: int
    p50: float
    p95: float
    max: float


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """All figures."""

    machine: Machine
    fsync: Fsync
    backlog: Backlog
    alone: Delays
    in_company: Delays


class Receivers:
    """The process of receivers and what it has told."""

    def __init__(self, folder: Path) -> None:
        self.port = random_port()
        self._told = folder / "received"
        with self._told.open("wb") as output:
            command = [sys.executable, "-m", "bench.receivers", str(self.port)]
            self.process = subprocess.Popen(command, stdout=output, cwd=ROOT)

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def arrivals(self) -> list[tuple[float, float]]:
        """When each event happened and when it arrived, milliseconds."""
        lines = self._told.read_text().splitlines()
        pairs = [line.split() for line in lines if line.count(" ") == 1]
        return [(float(at), float(came)) for at, came in pairs]

    def until(self, count: int) -> list[tuple[float, float]]:
        """The arrivals, once there are so many, or after two minutes."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while len(self.arrivals()) < count and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.arrivals()


@contextmanager
def receivers(folder: Path) -> Iterator[Receivers]:
    """Receivers for as long as the context is open."""
    found = Receivers(folder)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.wait()


def call(stack: Stack, method: str, path: str, body: Any = None) -> Any:
    """One call of the API."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(stack.url + path, data=data, method=method, headers=stack.headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def run_batches(stack: Stack, runs: int) -> None:
    """Runs of the greeter, at most 1,000 in a batch, until they have ended."""
    batches = []
    for first in range(0, runs, 1000):
        inputs = [{"name": "Ada"}] * min(1000, runs - first)
        batches.append(call(stack, "POST", "/v1/deployments/greeter/batch", {"inputs": inputs})["batch_id"])
    while any(call(stack, "GET", f"/v1/batches/{each}")["status"] != "completed" for each in batches):
        time.sleep(0.2)


def register(stack: Stack, url: str) -> str:
    """A webhook."""
    webhook_id: str = call(stack, "POST", "/v1/webhooks", {"url": url, "events": _EVENTS})["id"]
    return webhook_id


def backlog(stack: Stack, at: Receivers, runs: int) -> Backlog:
    """Deliver what has gathered."""
    webhook = register(stack, at.url("/well"))
    notifier = stack.kill("notifier", number=signal.SIGSTOP)
    run_batches(stack, runs)
    processes = {each["service"]: each["pid"] for each in stack.processes()} | {"receiver": at.process.pid}
    time.sleep(2.0)
    before, began = cpu_seconds(processes), time.time()
    os.kill(notifier, signal.SIGCONT)
    arrivals = at.until(runs)
    took = max(came for _, came in arrivals) / 1000 - began
    time.sleep(2.0)
    used = cpu_seconds(processes)
    call(stack, "DELETE", f"/v1/webhooks/{webhook}")
    return Backlog(
        deliveries=len(arrivals),
        per_second=round(len(arrivals) / took, 1),
        cpu_microseconds={name: round((used[name] - before[name]) / len(arrivals) * 1e6) for name in processes},
    )


def delays(stack: Stack, at: Receivers, bad: int, seconds: float, rate: float) -> Delays:
    """A steady load of `rate` runs a second, one good receiver, and `bad` others of which one hangs."""
    webhooks = [register(stack, at.url("/well"))]
    webhooks += [register(stack, at.url(f"/fails/{number}")) for number in range(bad - 1)]
    webhooks += [register(stack, at.url("/hangs"))] if bad else []
    already, started = len(at.arrivals()), 0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        call(stack, "POST", "/v1/deployments/greeter/runs", {"input": {"name": "Ada"}, "mode": "async"})
        started += 1
        time.sleep(max(0.0, 1 / rate - (time.monotonic() - began)))
    arrivals = at.until(already + started)[already:]
    for webhook in webhooks:
        call(stack, "DELETE", f"/v1/webhooks/{webhook}")
    late = sorted(came - event for event, came in arrivals)
    return Delays(
        bad_receivers=bad,
        expected=started,
        arrived=len(late),
        p50=round(late[len(late) // 2], 1),
        p95=round(late[int(len(late) * 0.95)], 1),
        max=round(late[-1], 1),
    )


def main(
    runs: Annotated[int, typer.Option(help="Runs of the backlog.")] = 10_000,
    bad: Annotated[int, typer.Option(help="Bad receivers: one hangs, the others fail.")] = 300,
    seconds: Annotated[float, typer.Option(help="How long each load lasts.")] = 15.0,
    fsync: Annotated[str, typer.Option(help="always or interval.")] = "always",
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Measure deliveries."""
    mode: Fsync = "interval" if fsync == "interval" else "always"
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        machine = describe(data, ROOT)
        with Stack(data / "stack", flows=_FLOWS, env={"HEADGATE_FSYNC": mode}) as stack, receivers(data) as at:
            console.print(f"a backlog of {runs:,} deliveries …")
            gathered = backlog(stack, at, runs)
            console.print(f"{seconds:g} s of a good receiver alone …")
            alone = delays(stack, at, 0, seconds, rate=10)
            console.print(f"{seconds:g} s of it among {bad} bad ones …")
            together = delays(stack, at, bad, seconds, rate=10)
    result = Result(machine=machine, fsync=mode, backlog=gathered, alone=alone, in_company=together)
    _RESULTS.mkdir(exist_ok=True)
    file = _RESULTS / f"deliveries-{machine.measured_at:%Y-%m-%dT%H%M%SZ}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
        return
    _print(result)
    console.print(f"written to {file.relative_to(ROOT)}")


def _print(result: Result) -> None:
    table = Table(title=f"Deliveries, fsync {result.fsync}, load average {result.machine.load_average}")
    for heading in ("", "deliveries", "a second", "p50 ms", "p95 ms", "max ms"):
        table.add_column(heading, justify="right" if heading else "left")
    done = result.backlog
    table.add_row("backlog", f"{done.deliveries:,}", f"{done.per_second:,.0f}", "", "", "")
    for name, each in (("alone", result.alone), (f"among {result.in_company.bad_receivers} bad", result.in_company)):
        row = (f"{each.arrived:,} of {each.expected:,}", "", f"{each.p50}", f"{each.p95}", f"{each.max}")
        table.add_row(name, *row)
    console = Console()
    console.print(table)
    used = ", ".join(f"{name} {value:g}" for name, value in done.cpu_microseconds.items())
    console.print(f"CPU a delivery of the backlog, µs: {used}")


if __name__ == "__main__":
    typer.run(main)
