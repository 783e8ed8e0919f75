"""Run events and nothing else, served by a process of its own, whose memory is then that of its streams.

`python -m tests.streams.edge <NATS URL> <seconds of patience>` prints its port and serves until its input ends.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from urllib.request import urlopen

import uvloop
from aiohttp import web

from libs.edge.callers import Callers
from libs.edge.routes import Edge, problems
from libs.edge.routes import serve as serve_route
from libs.edge.run_events import Reader, events_route
from libs.edge.streams import Streams
from libs.events.broker import connect
from libs.events.log import EventLog
from libs.events.topology import converge
from libs.runtime.health import Readiness, health_routes
from libs.runtime.listener import listen
from libs.runtime.metrics import describe_process

PATIENCE_SECONDS = 1.0


class Served:
    """The process from outside."""

    def __init__(self, url: str) -> None:
        self.url = url

    def metric(self, name: str) -> float:
        """The value of a series without labels."""
        with urlopen(f"{self.url}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    @property
    def resident_bytes(self) -> float:
        """Its memory."""
        return self.metric("headgate_process_resident_memory_bytes")

    @property
    def unsent_bytes(self) -> list[int]:
        """What the kernel holds for each of its clients, the largest last (proc(5), /proc/net/tcp)."""
        port = f":{int(self.url.rpartition(':')[2]):04X}"
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sorted(int(each[4].partition(":")[0], 16) for each in lines if each[1].endswith(port))


@contextmanager
def serving(nats_url: str) -> Iterator[Served]:
    """Such a process, until the context is left."""
    command = [sys.executable, "-m", "tests.streams.edge", nats_url, str(PATIENCE_SECONDS)]
    with Popen(command, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Served(f"http://127.0.0.1:{int(process.stdout.readline())}")
        process.stdin.close()
        assert process.wait(10) == 0


async def main(nats_url: str, patience_seconds: float) -> None:
    """Serve until the input ends."""
    describe_process("streams")
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)
    async with connect(nats_url, "streams", over.set) as broker, Callers(broker) as callers:
        reader = Reader(log=EventLog(broker, await converge(broker, 4, 1)), streams=Streams(patience_seconds))
        app = web.Application(middlewares=[problems])
        app.add_routes([serve_route(Edge(app=reader, callers=callers, max_body_bytes=1024), events_route())])
        app.add_routes(health_routes(Readiness()))
        async with listen(app, "127.0.0.1", 0, drain_seconds=0.2) as port:
            print(port, flush=True)
            await over.wait()
            reader.streams.end()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], float(sys.argv[2])))
