"""The flows that the dialects are called with."""

from itertools import pairwise
from typing import Any
from uuid import uuid4

Document = dict[str, Any]


def flow(nodes: list[dict[str, Any]], **more: Any) -> Document:
    """A document whose nodes follow one another; each flow of a test has a name, and so a slug, of its own."""
    edges = [{"source": a["id"], "target": b["id"]} for a, b in pairwise(nodes)]
    return {"name": f"Flow {uuid4().hex[:12]}", "nodes": nodes, "edges": edges, **more}


def api_input(*fields: Document, node_id: str = "in", **more: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "api_input", "config": {"fields": list(fields)}, **more}


def text(name: str = "text", **more: Any) -> Document:
    return {"name": name, "type": "string", **more}


def output(value: Any, node_id: str = "out", **more: Any) -> dict[str, Any]:
    return {"id": node_id, "type": "api_output", "config": {"value": value}, **more}


def template(text: str, node_id: str = "say") -> dict[str, Any]:
    return {"id": node_id, "type": "template", "config": {"text": text}}


def prompt(node_id: str, said: str, **config: Any) -> dict[str, Any]:
    settings = {"model": "openai/gpt-4o-mini", "prompt": said, **config}
    return {"id": node_id, "type": "prompt", "config": settings}


def repeating() -> Document:
    """`text` in, `You said: …` out."""
    field = text(required=True, max_length=200)
    return flow([api_input(field), template("You said: {{ in.text }}"), output("{{ say.text }}")])


def optional() -> Document:
    """The same for callers who may say nothing."""
    field = text(default="nothing")
    return flow([api_input(field), template("You said: {{ in.text }}"), output("{{ say.text }}")])


def failing() -> Document:
    """A flow whose transform cannot be computed."""
    broken = {"id": "broken", "type": "transform", "config": {"expression": "abs(in.text)"}}
    return flow([api_input(text()), broken, output("{{ broken }}")])


def waiting() -> Document:
    """A flow that ends when the address in `text` answers."""
    ask = {"id": "ask", "type": "http_request", "config": {"method": "GET", "url": "{{ in.text }}"}}
    return flow([api_input(text()), ask, output("{{ ask.body }}")])


def chat() -> Document:
    """A model with a memory, under the node id of the Langflow seed's tweaks."""
    model = prompt("OpenAI-xxxxx", "{{ in.input_value }}", history=True)
    return flow([api_input(text("input_value")), model, output("{{ OpenAI-xxxxx.text }}")])


def conversation() -> Document:
    """The flow of the FlowAI seed's stream, node by node."""
    return flow(
        [
            api_input(text("input"), node_id="myinput", name="Start"),
            {**prompt("1741675999864", "{{ myinput.input }}"), "name": "LLM1"},
            output("{{ 1741675999864.text }}", "1741676038250", name="Output 1"),
        ]
    )
