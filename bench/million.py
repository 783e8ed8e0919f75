"""The same throughput with many runs in the log and in PostgreSQL: `make bench MILLION=1`.

The runs are asked for straight on the product's log, without HTTP, so that a million of them take minutes and not an
hour. The product's own executor ends them, and its projection puts them into the runs table.
"""

import asyncio
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import msgspec
import uvloop

from bench.measure import Tell, measure_once
from bench.report import Million, Plan, Row, row_of
from bench.targets import Target, product_target, stored
from bench.usage import memory_bytes, settle
from cli.servers.nats import Fsync
from libs.events.broker import connect
from libs.events.log import EventLog
from libs.events.run_events import Append, RequestedData, RunRequested
from libs.events.subjects import Kind, RunKey
from libs.events.topology import converge
from libs.runtime.ids import new_id

RUNS = 1_000_000

_IN_FLIGHT = 512
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
        _, page = _page(product)
        uvloop.run(_fill(_nats_url(product), page, runs))
        settle(product.processes, _CATCH_UP_SECONDS)
        filled = time.monotonic() - began
        tell(f"fsync {fsync}: pages of the runs table")
        pages = sorted(_page(product)[0] for _ in range(_PAGES))
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


class _Seen(msgspec.Struct, frozen=True):
    flow_id: str
    deployment_id: str


class _Page(msgspec.Struct, frozen=True):
    data: list[_Seen]


def _page(product: Target) -> tuple[float, _Seen]:
    """Seconds that a page of 20 takes, and a run on it."""
    request = urllib.request.Request(f"http://127.0.0.1:{product.port}/v1/runs?limit=20", headers=product.headers)
    began = time.perf_counter()
    with urllib.request.urlopen(request, timeout=30) as answer:
        found = msgspec.json.decode(answer.read(), type=_Page)
    return time.perf_counter() - began, found.data[0]


async def _fill(url: str, like: _Seen, runs: int) -> None:
    """Runs of the product's own deployment, as many at a time as the log takes well."""
    async with connect(url, "bench", lambda: None) as broker:
        log = EventLog(broker, await converge(broker, 4, 1))
        workspace = await _workspace(log)
        left = iter(range(runs))

        async def write() -> None:
            for _ in left:
                await _ask_for_run(log, workspace, like)

        await asyncio.gather(*[write() for _ in range(_IN_FLIGHT)])


async def _ask_for_run(log: EventLog, workspace: str, like: _Seen) -> None:
    run = RunKey(workspace, new_id("run"))
    data = RequestedData(
        flow_id=like.flow_id, deployment_id=like.deployment_id, version=1, input={"name": "Ada", "prices": [3, 4, 5]}
    )
    asked = RunRequested(seq=1, run_id=run.run_id, at=datetime.now(UTC), data=data)
    append = Append(by="key_bench", events=[asked])
    await log.append(run, Kind.REQUESTED, append, after=0, patience_seconds=60.0)


def _nats_url(product: Target) -> str:
    with urllib.request.urlopen(f"{product.monitor_url}/varz", timeout=10) as answer:
        return f"nats://127.0.0.1:{msgspec.json.decode(answer.read())['port']}"


async def _workspace(log: EventLog) -> str:
    """The workspace of any run in the log: the one that was just measured with."""
    for shard in range(log.shards):
        body = msgspec.json.encode({"last_by_subj": f"evt.{shard}.>"})
        answer = await log.broker.request(f"$JS.API.STREAM.MSG.GET.EVENTS_{shard}", body)
        found = msgspec.json.decode(answer.data)
        if "message" in found:
            return str(found["message"]["subject"]).split(".")[2]
    raise LookupError("the log has no run yet")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
