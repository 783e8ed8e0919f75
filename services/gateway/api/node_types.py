"""The node types that flows may use, each with the JSON Schema of its config."""

from typing import Any

from libs.edge.routes import Call, Reply, Route
from libs.flows import node_types
from services.gateway.state import Gateway


async def list_node_types(_: Call[Gateway]) -> Reply:
    """All of them; the list is short and has no pages."""
    return Reply(body={"data": node_types(), "next_cursor": None})


ROUTES = (
    Route(
        method="GET",
        path="/v1/node-types",
        handler=list_node_types,
        summary="The node types, with the schema of their config",
        tag="flows",
        permission="read",
        answer=dict[str, Any],
    ),
)
