"""Flow documents and scopes that the tests start from."""

import itertools
from datetime import UTC, datetime
from typing import Any

from libs.flows import CompiledFlow, Flow, InvalidFlow, Scope, compile_flow, load

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


def node(node_id: str, node_type: str, config: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"id": node_id, "type": node_type, "config": config or {}, **more}


def edge(source: str, target: str, port: str | None = None) -> dict[str, Any]:
    return {"source": source, "target": target} | ({"source_port": port} if port else {})


def document(nodes: list[Any], edges: list[Any], **more: Any) -> dict[str, Any]:
    return {"name": "Test", "nodes": nodes, "edges": edges, **more}


def chain(*nodes: dict[str, Any]) -> dict[str, Any]:
    """The nodes one after the other."""
    pairs = itertools.pairwise(nodes)
    return document(list(nodes), [edge(source["id"], target["id"]) for source, target in pairs])


def greeter() -> dict[str, Any]:
    fields = [{"name": "name", "type": "string", "required": True, "max_length": 200, "test_value": "Ada"}]
    return {
        **chain(
            node("in", "api_input", {"fields": fields}),
            node("hi", "template", {"text": "Hello, {{ in.name }}!"}),
            node("out", "api_output", {"value": "{{ hi.text }}"}),
        ),
        "name": "Greeter",
        "slug": "greeter",
        "settings": {"session_ttl_seconds": 1800, "timeout_seconds": 300},
    }


def faults_of(doc: object) -> dict[str, str]:
    """Detail by pointer of everything that `load` refuses in `doc`; empty if it accepts it."""
    try:
        load(doc)
    except InvalidFlow as invalid:
        return {fault.pointer: fault.detail for fault in invalid.faults}
    return {}


def compiled(doc: dict[str, Any]) -> CompiledFlow:
    return compile_flow(load(doc))


def single(node_type: str, config: dict[str, Any], **more: Any) -> Any:
    """One node by itself."""
    flow: Flow = load(document([node("x", node_type, config, **more)], []))
    return flow.nodes[0]


def scope(**outputs: Any) -> Scope:
    return scope_with(outputs)


def scope_with(
    outputs: dict[str, Any] | None = None,
    given: dict[str, Any] | None = None,
    session: dict[str, Any] | None = None,
    secrets: dict[str, str] | None = None,
) -> Scope:
    return Scope(
        outputs=outputs or {},
        run={"id": "run_1", "input": given or {}},
        session=session or {},
        secrets=secrets or {},
        idempotency_key="run_1:x",
        now=NOW,
    )
