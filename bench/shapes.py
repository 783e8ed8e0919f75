"""Flows of other shapes than the four nodes: long, wide, and with much to carry."""

import itertools
import json
from typing import Any

import msgspec

from bench.targets import Target, deploy

MEGABYTE = 1_000_000


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A flow and the input it is called with."""

    name: str
    words: str
    flow: dict[str, Any]
    input: dict[str, Any]


def _node(node_id: str, node_type: str, **config: Any) -> dict[str, Any]:
    return {"id": node_id, "type": node_type, "config": config}


def _flow(slug: str, nodes: list[dict[str, Any]], edges: list[tuple[str, str]]) -> dict[str, Any]:
    links = [{"source": source, "target": target} for source, target in edges]
    return {"name": slug, "slug": slug, "nodes": nodes, "edges": links}


def _input(**limits: Any) -> dict[str, Any]:
    return _node("in", "api_input", fields=[{"name": "text", "type": "string", "required": True, **limits}])


def long_chain(length: int) -> dict[str, Any]:
    """Nodes in a row, each of which reads the one before it."""
    names = [f"n{number}" for number in range(length - 2)]
    before = ["in.text", *(f"{name}.text" for name in names)]
    nodes = [_node(name, "template", text=f"{{{{ {read} }}}}") for name, read in zip(names, before, strict=False)]
    chain = ["in", *names, "out"]
    nodes = [_input(), *nodes, _node("out", "api_output", value=f"{{{{ {before[-1]} }}}}")]
    return _flow(f"bench-chain-{length}", nodes, list(itertools.pairwise(chain)))


def fan_out(width: int) -> dict[str, Any]:
    """One node, then many side by side, then one that reads them all."""
    names = [f"n{number}" for number in range(width)]
    nodes = [_node(name, "template", text=f"{name}: {{{{ in.text }}}}") for name in names]
    value = {name: f"{{{{ {name}.text }}}}" for name in names}
    edges = [edge for name in names for edge in (("in", name), (name, "out"))]
    return _flow(f"bench-fan-out-{width}", [_input(), *nodes, _node("out", "api_output", value=value)], edges)


def carrying() -> dict[str, Any]:
    """Three nodes that hand a text on."""
    nodes = [
        _input(),
        _node("total", "transform", expression="length(in.text)"),
        _node("out", "api_output", value="{{ total }}"),
    ]
    return _flow("bench-carrying", nodes, [("in", "total"), ("total", "out")])


SHAPES = (
    Shape(name="chain-200", words="200 nodes in a row", flow=long_chain(200), input={"text": "Ada"}),
    Shape(name="fan-out-50", words="50 nodes side by side", flow=fan_out(50), input={"text": "Ada"}),
    Shape(name="input-1mb", words="an input of 1 MB", flow=carrying(), input={"text": "a" * MEGABYTE}),
)


def shaped(product: Target, shape: Shape) -> Target:
    """The product, to be called with this shape; it is deployed first."""
    slug = deploy(product, shape.flow)
    return msgspec.structs.replace(
        product, path=f"/v1/deployments/{slug}/runs", body=json.dumps({"input": shape.input})
    )
