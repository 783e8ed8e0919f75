"""What is measured, each for as long as a context is open: the product and the floor."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec

from bench import floor
from cli.children import exited, spawn
from cli.ports import random_port
from cli.servers.nats import Fsync, NatsServer
from tests.stack import Stack

ROOT = Path(__file__).resolve().parents[1]
_FLOWS = Path(__file__).parent
_INPUT = {"name": "Ada Lovelace", "prices": [3, 4, 5]}
_START_SECONDS = 15.0

Name = Literal["floor", "product"]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Something that answers: what to send to which port, and where to look while it does.

    `processes` maps names to pids. `monitor_url` is the monitoring endpoint of its NATS server. `submission` is the
    same for a call that is answered when it is accepted.
    """

    name: Name
    port: int
    path: str
    headers: dict[str, str]
    body: str
    expect: str
    status: int = 200
    submission: "Target | None" = None
    processes: dict[str, int]
    monitor_url: str


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What a NATS server's streams hold, all together; `bytes` with subjects and headers."""

    messages: int
    bytes: int


class TargetError(Exception):
    """What was to be measured did not start."""


def stored(target: Target) -> Stored:
    """The state of the target's streams (`/jsz` adds up what STREAM.INFO tells of each)."""
    with urllib.request.urlopen(f"{target.monitor_url}/jsz", timeout=10) as answer:
        return msgspec.json.decode(answer.read(), type=Stored)


def deploy(product: Target, flow: Mapping[str, Any]) -> str:
    """Put a flow on the product; the slug that it is called by."""
    made = _post(product, "/v1/flows", flow)
    _post(product, f"/v1/flows/{made['id']}/deployments", {"mode": "sync"})
    return str(made["slug"])


def _post(product: Target, path: str, body: Mapping[str, Any]) -> Any:
    url = f"http://127.0.0.1:{product.port}{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), product.headers, method="POST")
    with urllib.request.urlopen(request, timeout=_START_SECONDS) as answer:
        return json.loads(answer.read())


@contextmanager
def product_target(data: Path, fsync: Fsync, env: Mapping[str, str] | None = None) -> Iterator[Target]:
    """`headgate up` on free ports and data of its own, one process of each service, the four-node flow deployed."""
    with Stack(data, flows=_FLOWS, env={"HEADGATE_FSYNC": fsync, **(env or {})}) as stack:
        processes = {each["service"]: each for each in stack.processes()}
        target = Target(
            name="product",
            port=stack.port,
            path="/v1/deployments/four-nodes/runs",
            headers=stack.headers,
            body=json.dumps({"input": _INPUT}),
            expect='"status":"completed"',
            processes={name: each["pid"] for name, each in processes.items()} | {"supervisor": stack.pid},
            monitor_url=processes["nats"]["url"],
        )
        body = json.dumps({"input": _INPUT, "mode": "async"})
        submission = msgspec.structs.replace(target, body=body, expect='"status":"queued"', status=202)
        yield msgspec.structs.replace(target, submission=submission)


@contextmanager
def floor_target(data: Path, fsync: Fsync) -> Iterator[Target]:
    """NATS as the product configures it, and the two processes of `bench.floor`."""
    server = NatsServer(data / "nats", fsync=fsync)
    port = random_port(avoid={server.port, server.monitor_port})
    with ExitStack() as stack:
        stack.callback(server.stop)
        server.start()
        http = _floor_process(stack, data, "http", server.url, str(port))
        await_listener(port, http, data / "http.log")
        worker = _floor_process(stack, data, "worker", server.url)
        target = Target(
            name="floor",
            port=port,
            path="/runs",
            headers={},
            body=json.dumps({"input": _INPUT}),
            expect='"status":"completed"',
            processes={"nats": server.pid, "http": http.pid, "worker": worker.pid},
            monitor_url=server.monitor_url,
        )
        _answer_once(target)
        submission = msgspec.structs.replace(target, path="/submissions", expect='"status":"queued"', status=202)
        yield msgspec.structs.replace(target, submission=submission)


def _floor_process(stack: ExitStack, data: Path, *arguments: str) -> subprocess.Popen[bytes]:
    env = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(ROOT)}
    process = spawn([sys.executable, "-m", floor.__name__, *arguments], env=env, log=data / f"{arguments[0]}.log")
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    if not exited(process, timeout_seconds=5.0):
        process.kill()
        process.wait()


def await_listener(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once something listens. TargetError with what the process said when it ends, or takes too long."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TargetError(f"what was to listen did not start:\n{log.read_text(errors='replace')[-2000:]}")


def _answer_once(target: Target) -> Any:
    """One request, which waits until the worker is there."""
    url = f"http://127.0.0.1:{target.port}{target.path}"
    request = urllib.request.Request(url, data=target.body.encode(), method="POST")
    with urllib.request.urlopen(request, timeout=_START_SECONDS) as answer:
        return json.loads(answer.read())
