"""Restate: a server that keeps a journal of each call's steps, and calls the service back over HTTP/2.

The server is the one that its npm package brings. It runs with what it has out of the box, fsync included.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.peer import Peer, await_answer, node_with, process, python_with, version_of
from cli.ports import random_port

_APPS = Path(__file__).parent / "apps"


@contextmanager
def serve_python(data: Path) -> Iterator[Peer]:
    """With its Python SDK on hypercorn, one worker."""
    python = python_with("restate-python", "restate-sdk[serde]", "hypercorn", "uvloop")
    port = random_port()
    command = [str(python), "-m", "hypercorn", "--bind", f"127.0.0.1:{port}", "restate_app:app"]
    with process(command, _APPS, data / "service.log"), _restate(data, port) as ingress:
        yield _peer(ingress, f"Python SDK {version_of(python, 'restate-sdk')}", data)


@contextmanager
def serve_node(data: Path) -> Iterator[Peer]:
    """With its SDK for Node, one process. It needs Node 22, which comes as a package too."""
    folder = node_with("restate-node-22", "@restatedev/restate-sdk", "node@22")
    port = random_port()
    source = folder / "app.mjs"
    source.write_text((_APPS / "restate_app.mjs").read_text())
    version = json.loads((folder / "node_modules/@restatedev/restate-sdk/package.json").read_text())["version"]
    with (
        process([folder / "node_modules/.bin/node", source], folder, data / "service.log", {"PORT": str(port)}),
        _restate(data, port) as ingress,
    ):
        yield _peer(ingress, f"Node SDK {version}", data)


def _peer(ingress: int, version: str, data: Path) -> Peer:
    peer = Peer(
        port=ingress,
        path="/FourNodes/run",
        body=json.dumps({"name": "Ada Lovelace", "prices": [3, 4, 5]}),
        expect='"status":"completed"',
        version=version,
        durable="each step, fsync",
    )
    await_answer(peer, data / "service.log")
    return peer


@contextmanager
def _restate(data: Path, service: int) -> Iterator[int]:
    """The server, with the service registered; the port that calls come in by."""
    folder = node_with("restate-server", "@restatedev/restate-server")
    ingress, admin, node = (random_port() for _ in range(3))
    env = {
        "RESTATE_BASE_DIR": str(data / "restate-data"),
        "RESTATE_NODE_NAME": "bench",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_LOG_FILTER": "warn",
        "RESTATE_DISABLE_TELEMETRY": "true",
    }
    log = data / "restate.log"
    with process([folder / "node_modules/.bin/restate-server"], folder, log, env):
        registering = Peer(
            port=admin,
            path="/deployments",
            body=json.dumps({"uri": f"http://127.0.0.1:{service}", "force": True}),
            expect='"FourNodes"',
            version="",
            durable="",
        )
        await_answer(registering, log)
        yield ingress
