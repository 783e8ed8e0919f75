"""The node types as documentation: what `GET /v1/node-types` lists."""

import inspect
from typing import Any

from libs.flows.nodes import NODE_TYPES
from libs.flows.nodes.node import config_type
from libs.flows.schemas import struct_schema


def node_types() -> list[dict[str, Any]]:
    """Every node type: its names and descriptions, `effects`, `output` in words, the JSON Schema of its config.

    `tweak_guarded` are the config keys that a run may tweak only where a node lists them as `tweakable`.
    """
    return [
        {
            "type": tag,
            "title": node.title,
            "description": inspect.getdoc(node),
            "effects": node.effects,
            "output": node.output,
            "config_schema": struct_schema(config_type(node)),
            "tweak_guarded": sorted(node.guarded),
        }
        for tag, node in NODE_TYPES.items()
    ]
