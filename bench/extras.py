"""What is measured besides synchronous runs: submissions, other shapes of flow, first words, event streams."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from bench import model
from bench.load import LoadError, percentile
from bench.measure import Tell, measure_once
from bench.readers import Streamed, StreamOrder
from bench.report import Cell, FirstWord, Plan, Shape, Streams, row_of
from bench.shapes import SHAPES, long_chain, shaped
from bench.targets import ROOT, Target, await_listener, deploy, product_target
from cli.children import exited, spawn
from cli.ports import random_port
from cli.servers.nats import Fsync

_CONNECTIONS = 64
_SHAPE_CONNECTIONS = (1, 16)
_FIRST_WORDS = 200
_READINGS = 20
_MANY = 1000
_STREAM_SECONDS = 150.0


def steps_of(plan: Plan) -> int:
    """How many steps the functions here tell, for a plan of everything."""
    submissions = len(plan.fsync) * 2 * plan.rounds
    return submissions + len(SHAPES) * len(_SHAPE_CONNECTIONS) + 3


def measure_submissions(plan: Plan, fsync: Fsync, targets: list[Target], tell: Tell) -> list[Cell]:
    """Calls that are answered when they are accepted, floor and product in turn. The floor has no worker for them."""
    cells = []
    for number in range(1, plan.rounds + 1):
        for target in targets:
            tell(f"fsync {fsync}: round {number}, submissions, {target.name}")
            if target.submission is not None:
                cells.append(measure_once(plan, fsync, _CONNECTIONS, number, target.submission, "submission"))
    return cells


def measure_shapes(plan: Plan, fsync: Fsync, product: Target, tell: Tell) -> list[Shape]:
    """Sync runs of flows of other shapes."""
    found = []
    for shape in SHAPES:
        target = shaped(product, shape)
        for connections in _SHAPE_CONNECTIONS:
            tell(f"fsync {fsync}: {shape.words}, {connections} connections")
            row = row_of([measure_once(plan, fsync, connections, 1, target)])
            facts = {name: getattr(row, name) for name in Shape.__struct_fields__ if hasattr(row, name)}
            found.append(Shape(name=shape.name, words=shape.words, **facts))
    return found


def measure_streams(plan: Plan, fsync: Fsync, data: Path, tell: Tell) -> tuple[list[FirstWord], list[Streams]]:
    """First words and event streams, on a stack that has a model server."""
    with _model_server(data) as port:
        env = {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": "not-a-key"}
        with product_target(data / "streams", fsync, env) as product:
            tell(f"fsync {fsync}: first words")
            words = [_first_word(fsync, product, port)]
            return words, _streams(fsync, product, tell)


def _first_word(fsync: Fsync, product: Target, model_port: int) -> FirstWord:
    slug = deploy(product, _PROMPT)
    body = json.dumps({"input": {"text": "Ada"}, "mode": "stream"})
    call = _request("POST", f"/v1/deployments/{slug}/runs", product.headers, body)
    asked = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "Ada"}]})
    own = _request("POST", "/v1/chat/completions", {}, asked)
    order = StreamOrder(port=product.port, request=call, mark="event: node.delta", times=_FIRST_WORDS)
    _read(msgspec.structs.replace(order, times=5))
    through = _read(order)
    alone = _read(StreamOrder(port=model_port, request=own, mark="word", times=_FIRST_WORDS))
    return FirstWord(
        fsync=fsync,
        calls=_FIRST_WORDS,
        p50_milliseconds=percentile(through.firsts_milliseconds, 0.5),
        p99_milliseconds=percentile(through.firsts_milliseconds, 0.99),
        model_milliseconds=median(alone.firsts_milliseconds),
    )


def _streams(fsync: Fsync, product: Target, tell: Tell) -> list[Streams]:
    found = []
    for streams, times, nodes in ((1, _READINGS, 200), (_MANY, 1, 50)):
        tell(f"fsync {fsync}: {streams} event streams")
        slug = deploy(product, long_chain(nodes))
        run = _call(product, f"/v1/deployments/{slug}/runs", {"input": {"text": "Ada"}})
        headers = {**product.headers, "Accept": "text/event-stream"}
        request = _request("GET", f"/v1/runs/{run['id']}/events", headers, "")
        order = StreamOrder(port=product.port, request=request, mark="event: run.requested")
        read = _read(msgspec.structs.replace(order, streams=streams, times=times))
        found.append(
            Streams(
                streams=streams,
                events=read.frames,
                events_per_second=read.frames / read.seconds,
                first_milliseconds=median(read.firsts_milliseconds),
            )
        )
    return found


def _read(order: StreamOrder) -> Streamed:
    """Have a process of its own read. LoadError when it fails."""
    command = [sys.executable, "-m", "bench.readers"]
    encoded = msgspec.json.encode(order)
    done = subprocess.run(command, cwd=ROOT, input=encoded, capture_output=True, timeout=_STREAM_SECONDS, check=False)
    if done.returncode != 0 or done.stderr:
        raise LoadError(done.stderr.decode(errors="replace")[-2000:])
    return msgspec.json.decode(done.stdout, type=Streamed)


def _call(product: Target, path: str, body: Mapping[str, Any]) -> Any:
    url = f"http://127.0.0.1:{product.port}{path}"
    request = urllib.request.Request(url, json.dumps(body).encode(), product.headers, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def _request(method: str, path: str, headers: Mapping[str, str], body: str) -> str:
    given = {"Host": "127.0.0.1", "Content-Length": str(len(body)), **headers}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*lines, "", body])


@contextmanager
def _model_server(data: Path) -> Iterator[int]:
    data.mkdir(parents=True, exist_ok=True)
    port = random_port()
    process = spawn(
        [sys.executable, "-m", model.__name__, str(port)],
        env={"PYTHONPATH": str(ROOT)},
        log=data / "model.log",
    )
    try:
        await_listener(port, process, data / "model.log")
        yield port
    finally:
        process.terminate()
        if not exited(process, timeout_seconds=5.0):
            process.kill()
            process.wait()


_PROMPT: dict[str, Any] = {
    "name": "bench-prompt",
    "slug": "bench-prompt",
    "nodes": [
        {"id": "in", "type": "api_input", "config": {"fields": [{"name": "text", "type": "string"}]}},
        {"id": "llm", "type": "prompt", "config": {"model": "openai/m", "prompt": "{{ in.text }}", "stream": True}},
        {"id": "out", "type": "api_output", "config": {"value": "{{ llm.text }}"}},
    ],
    "edges": [{"source": "in", "target": "llm"}, {"source": "llm", "target": "out"}],
}
