"""A flow as one Python file that runs alone, does what the API does, and reads like code that one would keep.

First comes the flow: its fields, a function for each node, the edges. Behind it comes what they need of the
`runtime`, and nothing else. Bounds that only protect the service (steps of an expression, depth of an input) stay
behind. Everything that users wrote enters as data, never as code.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

from libs.flows.compile import CompiledFlow, compile_flow
from libs.flows.document import Flow
from libs.flows.export.bundle import bundle
from libs.flows.export.code import Expression, Items, Members, Name, data, written
from libs.flows.export.fields import field_code
from libs.flows.export.header import comment, docstring, script_block
from libs.flows.export.nodes import output_code
from libs.flows.nodes import AnyNode
from libs.flows.nodes.api_input import ApiInput
from libs.flows.nodes.api_output import ApiOutput

__all__ = ["export_python"]

_MAIN = """\
if __name__ == "__main__":
    sys.exit(main(run, __doc__))"""


def export_python(flow: Flow) -> str:
    """The text of a Python file that runs a valid flow. The same flow always gives the same text.

    `python file.py '{"name": "Ada"}'` prints the output as JSON; see the runtime's `command.main` for the rest.
    """
    compiled = compile_flow(flow)
    secrets = _unique(sorted(compiled.secrets), _secret_variable)
    own = "\n\n\n".join([_fields(compiled), *_functions(compiled, secrets), _nodes(compiled), _run(compiled)])
    needs = bundle(f"{own}\n{_MAIN}")
    head = [
        script_block(needs.requirements),
        docstring(compiled, needs.requirements, secrets),
        "from __future__ import annotations",
        "\n".join(needs.imports),
    ]
    return "\n\n".join(head) + "\n\n" + "\n\n\n".join([own, *needs.definitions, _MAIN]) + "\n"


def _fields(flow: CompiledFlow) -> str:
    inputs = [node for node in flow.flow.nodes if isinstance(node, ApiInput)]
    fields = Items(tuple(field_code(field) for node in inputs for field in node.config.fields))
    return f"FIELDS = {written(fields, before=len('FIELDS = '), after=0)}"


def _functions(flow: CompiledFlow, secrets: dict[str, str]) -> Iterable[str]:
    for node_id, name in _function_names(flow).items():
        node = flow.nodes[node_id]
        about = f"# {comment(node.name)}: {_type(node)}" if node.name and comment(node.name) else f"# {_type(node)}"
        output = written(output_code(node, flow, secrets), "    ", len("return "), 0)
        yield f"{about}\ndef {name}(scope: Scope) -> Any:\n    return {output}"


def _nodes(flow: CompiledFlow) -> str:
    names = _function_names(flow)
    members = Members(tuple((node_id, _node(node, names[node_id], flow)) for node_id, node in flow.nodes.items()))
    return f"NODES = {written(members, before=len('NODES = '), after=0)}"


def _node(node: AnyNode, function: str, flow: CompiledFlow) -> Expression:
    """The entry of a node, shaped as the runtime's `settling.Node`."""
    entry: dict[str, Any] = {}
    if edges := flow.incoming[node.id]:
        entry["after"] = [(edge.source, edge.source_port) for edge in edges]
    flags = {
        "chooses": bool(node.ports),
        "gives_output": isinstance(node, ApiOutput),
        "goes_on": node.on_error == "continue",
        "outside": node.effects or node.pauses,
    }
    entry |= {flag: True for flag, is_set in flags.items() if is_set}
    if node.effects and node.retry.max_attempts > 1:
        entry |= {"attempts": node.retry.max_attempts, "backoff_seconds": node.retry.backoff_seconds}
    if (node.effects or node.pauses) and node.timeout_seconds is not None:
        entry["timeout_seconds"] = node.timeout_seconds
    return Members((("run", Name(function)), *((key, data(value)) for key, value in entry.items())))


def _run(flow: CompiledFlow) -> str:
    given = "read_input(FIELDS, given)"
    if flow.files:
        given = f"read_files(FIELDS, {given})"
    if any(node.effects or node.pauses for node in flow.nodes.values()):
        output = f"side_by_side(NODES, {given}, timeout_seconds={flow.flow.settings.timeout_seconds!r})"
    else:
        output = f"in_order(NODES, {given})"
    about = '"""The flow\'s output for an input. Raises InvalidInput, and RunFailure where a node fails."""'
    return f"def run(given: Any) -> Any:\n    {about}\n    return {output}"


def _function_names(flow: CompiledFlow) -> dict[str, str]:
    return _unique(flow.nodes, lambda node_id: f"node_{node_id.replace('-', '_')}")


def _unique(names: Iterable[str], spelled: Callable[[str], str]) -> dict[str, str]:
    """Each name as `spelled` has it, with a number where two would be the same."""
    found: dict[str, str] = {}
    for name in names:
        wanted = candidate = spelled(name)
        number = 1
        while candidate in found.values():
            number += 1
            candidate = f"{wanted}_{number}"
        found[name] = candidate
    return found


def _secret_variable(name: str) -> str:
    return f"HEADGATE_SECRET_{re.sub(r'[^A-Z0-9]+', '_', name.upper())}"


def _type(node: AnyNode) -> str:
    return str(type(node).__struct_config__.tag)
