"""Flow documents for these tests: short to write, each with a slug of its own."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from libs.runtime.ids import new_id

Node = dict[str, Any]

INPUT: Node = {
    "id": "in",
    "type": "api_input",
    "config": {"fields": [{"name": "text", "type": "string", "default": "", "max_length": 5000, "test_value": "x"}]},
}


def http(node_id: str, url: str, **more: Any) -> Node:
    """A node that posts the run's text to `url`."""
    return {
        "id": node_id,
        "type": "http_request",
        "config": {"method": "POST", "url": url, "body": {"text": "{{ in.text }}"}},
        **more,
    }


def prompt(node_id: str, model: str, text: str = "{{ in.text }}", **more: Any) -> Node:
    """A node that asks a model."""
    return {"id": node_id, "type": "prompt", "config": {"model": model, "prompt": text}, **more}


def template(node_id: str, text: str) -> Node:
    """A pure node."""
    return {"id": node_id, "type": "template", "config": {"text": text}}


def output(value: Any) -> Node:
    """The end of a flow."""
    return {"id": "out", "type": "api_output", "config": {"value": value}}


def flow(nodes: Sequence[Node], edges: Sequence[tuple[str, str]], **settings: Any) -> Node:
    """A document of these nodes; the input is added."""
    slug = new_id("flow").replace("_", "-").lower()
    return {
        "name": slug,
        "slug": slug,
        "settings": settings,
        "nodes": [INPUT, *nodes],
        "edges": [{"source": source, "target": end} for source, end in edges],
    }


def chain(*nodes: Node, **settings: Any) -> Node:
    """A document in which each node follows the one before."""
    ids = ["in", *(node["id"] for node in nodes)]
    return flow(nodes, list(pairwise(ids)), **settings)


def branches(*nodes: Node, value: Any, **settings: Any) -> Node:
    """A document in which all nodes follow the input and one output follows them all."""
    ids = [node["id"] for node in nodes]
    return flow([*nodes, output(value)], [*(("in", i) for i in ids), *((i, "out") for i in ids)], **settings)
