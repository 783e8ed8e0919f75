"""Which field of a flow's input a dialect's one text goes to, and what a text is to a field of another type."""

from collections.abc import Mapping
from typing import Any

import msgspec

from libs.edge.problems import Detail, Problem
from libs.flows import CompiledFlow, Field
from libs.flows.nodes.api_input import ApiInput


def fields_of(flow: CompiledFlow) -> dict[str, Field]:
    """Every field of the flow's input by name, in the document's order."""
    nodes = [node for node in flow.flow.nodes if isinstance(node, ApiInput)]
    return {field.name: field for node in nodes for field in node.config.fields}


def text_field(flow: CompiledFlow) -> str:
    """The field that takes a chat's one text: `input_value`, else the first of type string."""
    fields = fields_of(flow)
    if "input_value" in fields:
        return "input_value"
    return next((name for name, field in fields.items() if field.type == "string"), "input_value")


def field_named(flow: CompiledFlow, name: str, pointer: str) -> Field:
    """The field that `name` means: a field's own, or the id of an `api_input` node that has just one field."""
    fields = fields_of(flow)
    if name in fields:
        return fields[name]
    node = flow.nodes.get(name)
    if isinstance(node, ApiInput) and len(node.config.fields) == 1:
        return node.config.fields[0]
    detail = f"there is no input `{name[:64]}` (known: {', '.join(fields) or 'none'})"
    raise Problem("invalid_input", f"{pointer}: {detail}.", [Detail(pointer=pointer, detail=detail)])


def typed(field: Field, text: Any) -> Any:
    """A text as the field's type has it: `"3"` is a number to a number field. What cannot be read stays as it is."""
    if not isinstance(text, str) or field.type in ("string", "file"):
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def translate_tweaks(flow: CompiledFlow, tweaks: Mapping[str, Any]) -> dict[str, Any]:
    """Langflow's name for a model is a tweak of ours: `model_name` keeps the node's provider."""
    return {node_id: _translate(flow, node_id, changes) for node_id, changes in tweaks.items()}


def _translate(flow: CompiledFlow, node_id: str, changes: Any) -> Any:
    node = flow.nodes.get(node_id)
    model = getattr(getattr(node, "config", None), "model", None)
    if not isinstance(changes, dict) or "model_name" not in changes or not isinstance(model, str):
        return changes
    rest = {key: value for key, value in changes.items() if key != "model_name"}
    name = changes["model_name"]
    provider = model.partition("/")[0] + "/"
    return {**rest, "model": provider + name.removeprefix(provider) if isinstance(name, str) else name}
