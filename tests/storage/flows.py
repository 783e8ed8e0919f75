"""Flow documents for these tests, and what is sent to them."""

import itertools
from typing import Any


def chain(slug: str, *nodes: dict[str, Any]) -> dict[str, Any]:
    """The nodes one after the other."""
    edges = [{"source": a["id"], "target": b["id"]} for a, b in itertools.pairwise(nodes)]
    return {"name": slug, "slug": slug, "nodes": list(nodes), "edges": edges}


def node(node_id: str, node_type: str, **config: Any) -> dict[str, Any]:
    return {"id": node_id, "type": node_type, "config": config}


def file_input(**limits: Any) -> dict[str, Any]:
    """An input with one file, `doc`."""
    return node("in", "api_input", fields=[{"name": "doc", "type": "file", "required": True, **limits}])


def describes(slug: str, **limits: Any) -> dict[str, Any]:
    """Answers what it knows of its file."""
    value = {
        "name": "{{ in.doc.name }}",
        "type": "{{ in.doc.content_type }}",
        "size": "{{ in.doc.size }}",
        "text": "{{ in.doc.text }}",
        "base64": "{{ in.doc.base64 }}",
    }
    return chain(slug, file_input(**limits), node("said", "template", value=value))
