"""`python -m bench.streams`: thousands of event streams open on one notifier, what they cost and how late they are.

A NATS server, auth and one notifier run as in the product; runs are appended to the log by this process, and read by a
process of readers (`bench.stream_readers`) over real sockets. A delay counts from before the append is sent to the
arrival at the reader, so storing is part of it. It takes about a minute and stops by itself.
"""

import asyncio
import base64
import math
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, monotonic_ns
from typing import Annotated

import msgspec
import typer
import uvloop
from rich.console import Console
from rich.table import Table

from bench.machine import Machine, describe
from bench.stream_readers import Command, Told
from bench.targets import ROOT
from bench.usage import cpu_seconds, memory_bytes
from cli.children import spawn
from cli.ports import random_port
from cli.servers.nats import NatsServer
from libs.edge.callers import Callers
from libs.events.broker import connect
from libs.events.log import EventLog
from libs.events.run_events import Append, DeltaData, NodeDelta
from libs.events.subjects import Kind, RunKey
from libs.events.topology import converge
from libs.runtime.ids import new_id
from tests.events.runs import completed, requested

_KEY = "sk-" + "bench-of-event-streams-0000000000"
_MASTER = base64.b64encode(bytes(32)).decode()
_RESULTS = Path(__file__).parent / "results"
_SETTLE_SECONDS = 3.0
_ARRIVAL_SECONDS = 10.0
_TOGETHER_PER_SECOND = 1
"""Events of the run that all readers follow: each is as many deliveries as there are readers."""


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """From append to client, in milliseconds, of `deliveries` that arrived of `expected`."""

    expected: int
    deliveries: int
    p50: float
    p99: float
    max: float
    cpu_microseconds: float
    """Of the notifier, for each delivery."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """All figures; memory in bytes, CPU as a share of one core."""

    machine: Machine
    streams: int
    opened_seconds: float
    refused: int
    """Attempts to open one that were answered 503, by a machine that is too busy to read the log in two seconds."""
    memory_idle: int
    memory_open: int
    descriptors_idle: int
    descriptors_open: int
    cpu_open: float
    nats_cpu_open: float
    one_reader_each: Delays
    one_run_for_all: Delays
    ended: int


class Setting:
    """What runs while it is measured."""

    def __init__(self, nats: NatsServer, notifier: subprocess.Popen[bytes], port: int) -> None:
        self.nats = nats
        self.notifier = notifier
        self.port = port

    @property
    def descriptors(self) -> int:
        """How many files the notifier has open."""
        return len(os.listdir(f"/proc/{self.notifier.pid}/fd"))

    @property
    def memory(self) -> int:
        """The notifier's."""
        return memory_bytes({"notifier": self.notifier.pid})["notifier"]

    def cpu(self) -> dict[str, float]:
        """CPU seconds so far."""
        assert self.nats.process is not None
        return cpu_seconds({"notifier": self.notifier.pid, "nats": self.nats.process.pid})


class Reading:
    """The process of readers."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.stream_readers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )

    async def tell(self, command: Command) -> Told:
        """Have it do something; what it tells."""
        return await asyncio.to_thread(self._tell, command)

    def _tell(self, command: Command) -> Told:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(command) + b"\n")
        self._process.stdin.flush()
        return msgspec.json.decode(self._process.stdout.readline(), type=Told)

    async def open(self, runs: list[RunKey]) -> Told:
        """A stream for each of `runs`."""
        return await self.tell(Command(do="open", port=self._setting.port, key=_KEY, runs=[run.run_id for run in runs]))

    async def collect(self, expected: int) -> list[int]:
        """The delays since the last time, once `expected` of them came; fewer where they do not."""
        found: list[int] = []
        deadline = monotonic() + _ARRIVAL_SECONDS
        while len(found) < expected and monotonic() < deadline:
            await asyncio.sleep(0.25)
            found += (await self.tell(Command(do="collect"))).delays
        return found

    def end(self) -> None:
        """Stop it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


class Writer:
    """Runs that are spoken of, each where it was left."""

    def __init__(self, log: EventLog, workspace: str) -> None:
        self._log = log
        self._workspace = workspace
        self._places: dict[RunKey, tuple[int, int]] = {}

    async def begin(self, count: int) -> list[RunKey]:
        """New runs."""
        runs = [RunKey(self._workspace, new_id("run")) for _ in range(count)]
        for start in range(0, count, 200):
            await asyncio.gather(*map(self._begin, runs[start : start + 200]))
        return runs

    async def _begin(self, run: RunKey) -> None:
        self._places[run] = (await self._log.append(run, Kind.REQUESTED, requested(run), after=0), 1)

    async def say(self, run: RunKey) -> None:
        """One event more, stamped."""
        after, seq = self._places[run]
        data = DeltaData(text=f"@{monotonic_ns()}@ " + "word " * 20)
        event = NodeDelta(seq=seq + 1, run_id=run.run_id, at=datetime.now(UTC), node="llm", data=data)
        after = await self._log.append(run, Kind.PROGRESS, Append(by="bench", events=[event]), after=after)
        self._places[run] = (after, seq + 1)

    async def end(self, run: RunKey) -> None:
        """The run's end."""
        after, seq = self._places[run]
        await self._log.append(run, Kind.ENDED, completed(run, seq + 1), after=after)

    async def say_all(self, runs: list[RunKey], per_second: float) -> None:
        """One event for each, so many a second, whether or not those before have been stored."""
        began = monotonic()
        async with asyncio.TaskGroup() as group:
            for number, run in enumerate(runs):
                await asyncio.sleep(max(0.0, began + number / per_second - monotonic()))
                group.create_task(self.say(run))


def streams(
    streams: Annotated[int, typer.Option(min=1, max=20_000, help="How many streams are open at once.")] = 5_000,
    events: Annotated[int, typer.Option(min=1, help="Events of a second, over all runs.")] = 500,
    seconds: Annotated[float, typer.Option(min=1, help="How long each measurement counts.")] = 10.0,
    output: Annotated[Path, typer.Option(help="Where the JSON goes.")] = _RESULTS,
) -> None:
    """Measure event streams on one notifier."""
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=ROOT / "build") as data:
        machine = describe(Path(data), ROOT)
        with _processes(Path(data)) as setting:
            result = uvloop.run(_measure(setting, machine, streams, events, seconds))
    show(result, Console())
    output.mkdir(parents=True, exist_ok=True)
    path = output / f"streams-{machine.measured_at:%Y-%m-%dT%H%M%SZ}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    Console(stderr=True).print(f"Written: {path}", soft_wrap=True)


@contextmanager
def _processes(data: Path) -> Iterator[Setting]:
    nats = NatsServer(data / "nats", fsync="interval")
    with ExitStack() as stack:
        nats.start()
        stack.callback(nats.stop)
        common = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HEADGATE_")},
            "HEADGATE_NATS_URL": nats.url,
            "HEADGATE_MASTER_KEY": _MASTER,
        }
        started = []
        for service in ("auth", "notifier"):
            port = random_port()
            own = {"HEADGATE_PORT": str(port), "HEADGATE_ADMIN_KEY": _KEY if service == "auth" else ""}
            argv = [sys.executable, "-m", f"services.{service}"]
            process = spawn(argv, env={**common, **own}, log=data / f"{service}.log")
            stack.callback(process.wait)
            stack.callback(process.terminate)
            _wait_ready(port)
            started.append((process, port))
        yield Setting(nats, *started[1])


def _wait_ready(port: int) -> None:
    deadline = monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            if monotonic() > deadline:
                raise


async def _measure(setting: Setting, machine: Machine, streams: int, events: int, seconds: float) -> Result:
    async with _writing(setting) as writer:
        reading = Reading(setting)
        runs = await writer.begin(streams)
        await asyncio.sleep(_SETTLE_SECONDS)
        memory, descriptors = setting.memory, setting.descriptors
        began = monotonic()
        opened = await reading.open(runs)
        opened_seconds = monotonic() - began
        await asyncio.sleep(_SETTLE_SECONDS)
        before = setting.cpu()
        await asyncio.sleep(seconds)
        idle = {name: (used - before[name]) / seconds for name, used in setting.cpu().items()}
        memory_open, descriptors_open = setting.memory, setting.descriptors
        spoken = [runs[number % streams] for number in range(int(events * seconds))]
        each = await _delays(setting, reading, writer.say_all(spoken, events), len(spoken))
        async with asyncio.TaskGroup() as group:
            for run in runs:
                group.create_task(writer.end(run))
        ended = await _ended(reading, opened.open)
        (one,) = await writer.begin(1)
        await reading.open([one] * streams)
        count = max(1, int(_TOGETHER_PER_SECOND * seconds))
        together = await _delays(setting, reading, writer.say_all([one] * count, _TOGETHER_PER_SECOND), count * streams)
        reading.end()
    return Result(
        machine=machine,
        streams=opened.open,
        opened_seconds=round(opened_seconds, 2),
        refused=opened.refused,
        memory_idle=memory,
        memory_open=memory_open,
        descriptors_idle=descriptors,
        descriptors_open=descriptors_open,
        cpu_open=round(idle["notifier"], 3),
        nats_cpu_open=round(idle["nats"], 3),
        one_reader_each=each,
        one_run_for_all=together,
        ended=ended,
    )


@asynccontextmanager
async def _writing(setting: Setting) -> AsyncIterator[Writer]:
    async with connect(setting.nats.url, "bench", lambda: None) as broker, Callers(broker) as callers:
        log = EventLog(broker, await converge(broker, 4, 1))
        yield Writer(log, (await callers.verify(_KEY)).workspace)


async def _delays(setting: Setting, reading: Reading, speaking: object, expected: int) -> Delays:
    await reading.collect(0)
    before = setting.cpu()["notifier"]
    await speaking  # type: ignore[misc]
    found = sorted(await reading.collect(expected))
    used = setting.cpu()["notifier"] - before
    found = found or [0]
    return Delays(
        expected=expected,
        deliveries=len(found),
        p50=found[len(found) // 2] / 1000,
        p99=found[math.ceil(len(found) * 0.99) - 1] / 1000,
        max=found[-1] / 1000,
        cpu_microseconds=round(used / len(found) * 1e6, 1),
    )


async def _ended(reading: Reading, expected: int) -> int:
    """How many streams came to their end."""
    ended, deadline = 0, monotonic() + _ARRIVAL_SECONDS
    while ended < expected and monotonic() < deadline:
        await asyncio.sleep(0.25)
        ended += (await reading.tell(Command(do="collect"))).ended
    await reading.tell(Command(do="close"))
    return ended


def show(found: Result, console: Console) -> None:
    """Print the table."""
    table = Table(title=f"{found.streams} event streams on one notifier", show_header=False)
    grown = (found.memory_open - found.memory_idle) / found.streams
    table.add_row("opened in", f"{found.opened_seconds:.1f} s, {found.refused} tried again")
    table.add_row("memory", f"{found.memory_idle / 2**20:.0f} → {found.memory_open / 2**20:.0f} MiB")
    table.add_row("a stream", f"{grown / 1024:.1f} KiB")
    table.add_row("descriptors", f"{found.descriptors_idle} → {found.descriptors_open}")
    table.add_row(
        "CPU while all are silent", f"notifier {found.cpu_open:.1%}, nats {found.nats_cpu_open:.1%} of a core"
    )
    for name, delays in (("a reader each", found.one_reader_each), ("one run for all", found.one_run_for_all)):
        shown = f"p50 {delays.p50:.1f}, p99 {delays.p99:.1f}, max {delays.max:.1f} ms"
        table.add_row(
            name, f"{shown}; {delays.deliveries} of {delays.expected}; {delays.cpu_microseconds:.0f} µs CPU each"
        )
    table.add_row("ended with their run", str(found.ended))
    console.print(table)


if __name__ == "__main__":
    typer.run(streams)
