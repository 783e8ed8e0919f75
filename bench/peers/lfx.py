"""lfx: Langflow's executor alone, a server that keeps one flow in memory and stores nothing.

One worker, as it is out of the box: it carries out one run after the other. The flow is the one of
`bench.peers.langflow`, made of the index of components that the package brings.
"""

import json
import secrets
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers.langflow import ANSWER, INPUT, Groups, four_nodes
from bench.peers.peer import Peer, await_answer, process, python_with, version_of
from cli.ports import random_port


@contextmanager
def serve(data: Path) -> Iterator[Peer]:
    """`lfx serve` of the flow."""
    python = python_with("lfx", "lfx")
    port, key, log = random_port(), secrets.token_urlsafe(), data / "lfx.log"
    data.mkdir(parents=True)
    flow, flow_id = data / "four-nodes.json", str(uuid.uuid4())
    flow.write_text(json.dumps({"id": flow_id, "name": "Four nodes", "data": four_nodes(_components(python))}))
    command = [python.parent / "lfx", "serve", flow, "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    env = {"DO_NOT_TRACK": "true", "LANGFLOW_API_KEY": key, "LANGFLOW_CONFIG_DIR": str(data / "lfx")}
    with process(command, data, log, env):
        peer = Peer(
            port=port,
            path=f"/flows/{flow_id}/run",
            headers={"x-api-key": key},
            body=json.dumps({"input_value": INPUT}),
            expect=f'"result":"{ANSWER}"',
            version=version_of(python, "lfx"),
            durable="nothing",
            run_seconds=0.05,
        )
        await_answer(peer, log)
        yield peer


def _components(python: Path) -> Groups:
    code = "import lfx, pathlib; print(pathlib.Path(lfx.__file__).parent)"
    found = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout.strip()
    index = json.loads((Path(found) / "_assets" / "component_index.json").read_bytes())
    return {group: components for group, components, *_ in index["entries"]}
