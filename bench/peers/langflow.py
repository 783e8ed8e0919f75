"""Langflow: a server that keeps flows in a database and makes each anew from it for a call.

The package `langflow`, without its editor, as its documentation has it for flows that are called: logins on, a key,
no reports home. What it does not ask to be changed is as it comes: one worker (more of them need Redis), SQLite, and
the messages of each call stored. `four_nodes` is its counterpart of `bench/four-nodes.json`.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.peers.peer import Peer, await_answer, await_get, process, python_with, version_of
from cli.ports import random_port

Groups = Mapping[str, Mapping[str, Any]]
"""The components that a Langflow has, by group and name."""

INPUT = "Ada Lovelace"
ANSWER = "Hello, Ada Lovelace! Welcome back."


@contextmanager
def serve(data: Path) -> Iterator[Peer]:
    """Langflow on a database of its own, with the flow put there by its own API."""
    python = python_with("langflow", "langflow")
    port, key, log = random_port(), secrets.token_urlsafe(), data / "langflow.log"
    command = [python.parent / "langflow", "run", "--backend-only", "--host", "127.0.0.1", "--port", str(port)]
    with process(command, data, log, _settings(data, key)):
        headers = {"x-api-key": key}
        groups = await_get(f"http://127.0.0.1:{port}/api/v1/all", headers, log)
        flow = {"name": "Four nodes", "endpoint_name": "four-nodes", "data": four_nodes(groups)}
        adding = Peer(
            port=port,
            path="/api/v1/flows/",
            headers=headers,
            body=json.dumps(flow),
            expect='"endpoint_name":"four-nodes"',
            version="",
            durable="",
        )
        await_answer(adding, log)
        peer = Peer(
            port=port,
            path="/api/v1/run/four-nodes?stream=false",
            headers=headers,
            body=json.dumps({"input_value": INPUT, "input_type": "chat", "output_type": "chat"}),
            expect=f'"text":"{ANSWER}"',
            version=version_of(python, "langflow"),
            durable="messages, in SQLite",
            run_seconds=0.1,
        )
        await_answer(peer, log)
        yield peer


def _settings(data: Path, key: str) -> dict[str, str]:
    return {
        "DO_NOT_TRACK": "true",
        "LANGFLOW_API_KEY": key,
        "LANGFLOW_API_KEY_SOURCE": "env",
        "LANGFLOW_AUTO_LOGIN": "false",
        "LANGFLOW_CONFIG_DIR": str(data / "langflow"),
        "LANGFLOW_CREATE_STARTER_PROJECTS": "false",
        "LANGFLOW_LOG_LEVEL": "error",
        "LANGFLOW_MODELS_DEV_REFRESH": "false",
        "LANGFLOW_SAVE_DB_IN_CONFIG_DIR": "true",
        "LANGFLOW_SECRET_KEY": secrets.token_urlsafe(32),
        "LANGFLOW_SUPERUSER": "bench",
        "LANGFLOW_SUPERUSER_PASSWORD": secrets.token_urlsafe(),
        "LITELLM_LOCAL_MODEL_COST_MAP": "true",
    }


def four_nodes(groups: Groups) -> dict[str, Any]:
    """An input, a template, a transformation, an output: nodes and edges made of the components that are there.

    The transformation is a cheap one: it joins two texts. What a run costs grows with the length of its components'
    code, and the component for all operations on data makes it up to three times as much. The calculator would be
    nearer to ours, but with it one in some hundred runs of lfx failed on Python 3.11, which loses count when threads
    parse Python.
    """
    prompt = groups["models_and_agents"]["Prompt Template"]["template"]
    combine = groups["processing"]["CombineText"]["template"]
    nodes = [
        _node("ChatInput", groups["input_output"]),
        _node(
            "Prompt Template",
            groups["models_and_agents"],
            template={**prompt["template"], "value": "Hello, {name}!"},
            name={**prompt["tool_placeholder"], "name": "name", "show": True},
        ),
        _node("CombineText", groups["processing"], text2={**combine["text2"], "value": "Welcome back."}),
        _node("ChatOutput", groups["input_output"]),
    ]
    into = ["name", "text1", "input_value"]
    edges = [_edge(source, target, field) for source, target, field in zip(nodes, nodes[1:], into, strict=False)]
    return {"nodes": nodes, "edges": edges}


def _node(kind: str, group: Mapping[str, Any], /, **fields: Any) -> dict[str, Any]:
    """A node with some of its component's fields replaced, and others added."""
    node = {**group[kind], "template": {**group[kind]["template"], **fields}}
    return {"id": f"{kind}-1", "data": {"id": f"{kind}-1", "type": kind, "node": node}}


def _edge(source: Mapping[str, Any], target: Mapping[str, Any], into: str) -> dict[str, Any]:
    """From a node's one output into a field of another."""
    output, field = source["data"]["node"]["outputs"][0], target["data"]["node"]["template"][into]
    handles = {
        "sourceHandle": {
            "dataType": source["data"]["type"],
            "id": source["id"],
            "name": output["name"],
            "output_types": output["types"],
        },
        "targetHandle": {
            "fieldName": into,
            "id": target["id"],
            "inputTypes": field["input_types"],
            "type": field["type"],
        },
    }
    return {"id": f"{source['id']}-{into}", "source": source["id"], "target": target["id"], "data": handles}
