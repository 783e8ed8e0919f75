"""Flows of Headgate itself for the clients to call."""

import json
import urllib.request
from itertools import pairwise
from typing import Any

from tests.stack import Stack

_FIELD = {"name": "name", "type": "string", "required": True, "max_length": 200, "test_value": "Ada"}
INPUT = {"id": "in", "type": "api_input", "config": {"fields": [_FIELD]}}
HELLO = {"id": "hi", "type": "prompt", "config": {"model": "echo/echo", "prompt": "Hello, {{ in.name }}!"}}
OUTPUT = {"id": "out", "type": "api_output", "config": {"value": 1}}


def deploy_greeter(stack: Stack) -> None:
    """A flow `greeter` that says its hello word by word."""
    output = {**OUTPUT, "config": {"value": "{{ hi.text }}"}}
    deploy(stack, "greeter", [INPUT, HELLO, output])


def deploy(stack: Stack, slug: str, nodes: list[dict[str, Any]]) -> None:
    """A production deployment of a flow whose nodes follow each other."""
    ids = [node["id"] for node in nodes]
    edges = [{"source": source, "target": target} for source, target in pairwise(ids)]
    flow = _post(stack, "/v1/flows", {"name": slug, "slug": slug, "nodes": nodes, "edges": edges})
    _post(stack, f"/v1/flows/{flow['id']}/deployments", {"type": "production", "mode": "sync"})


def _post(stack: Stack, path: str, body: Any) -> dict[str, Any]:
    request = urllib.request.Request(stack.url + path, json.dumps(body).encode(), stack.headers)
    with urllib.request.urlopen(request, timeout=20) as response:
        found: dict[str, Any] = json.load(response)
        return found
