"""A run's input against the fields that the flow's `api_input` nodes declare.

The input is one flat object whatever the number of such nodes. Members that no field declares are kept: callers
of other platforms send more than they declare. Null counts as absent. A number without a fraction is an integer
(JSON Schema draft 2020-12, section 6.1.1) and is read as one: 3.0 as 3; a boolean is never a number.
"""

from typing import Any

import msgspec
from jsonschema_rs import Draft202012Validator

from libs.flows.document import Flow
from libs.flows.faults import Fault, InvalidInput, pointer_to
from libs.flows.nodes.api_input import ApiInput
from libs.flows.nodes.fields import Field, field_schema, file_value, sample_value
from libs.flows.schemas import schema_faults, validator
from libs.flows.weight import Unfit, weigh


class InputReader(msgspec.Struct, frozen=True, kw_only=True):
    """The compiled check of one flow version's input."""

    check: Draft202012Validator
    defaults: dict[str, Any]
    integers: tuple[str, ...]
    files: dict[str, Field]

    def read(self, raw: object, pointer: str) -> dict[str, Any]:
        """The input with defaults filled in; `raw` is not changed. Null reads as an empty object.

        Raises `InvalidInput` with every fault, pointers beginning with `pointer`.
        """
        given = {} if raw is None else raw
        if not isinstance(given, dict):
            raise InvalidInput([Fault(pointer=pointer, detail="must be object")])
        present = {name: value for name, value in given.items() if value is not None}
        if not _passes(self.check, present):
            raise InvalidInput(schema_faults(self.check, present, pointer) or [_unreadable(pointer)])
        _refuse_endless(present, pointer)
        for name in self.integers:
            if isinstance(present.get(name), float):
                present[name] = int(present[name])
        for name in self.files:
            if name in present:
                present[name] = file_value(present[name])
        return {**given, **self.defaults, **present}


def input_schema(flow: Flow) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a run's input: what is checked, and what OpenAPI shows."""
    properties: dict[str, Any] = {}
    required: dict[str, None] = {}
    for field in _fields(flow):
        schema = field_schema(field)
        if field.name in properties:
            schema = {"allOf": [properties[field.name], schema]}
        properties[field.name] = schema
        if field.required:
            required[field.name] = None
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": True}


def sample_input(flow: Flow) -> dict[str, Any]:
    """An input that examples send: test values where there are, and something of the right type elsewhere."""
    return {field.name: sample_value(field) for field in reversed(_fields(flow))}


def input_reader(flow: Flow) -> InputReader:
    """Compiles the check of a valid flow's input. A default satisfies `required`."""
    fields = _fields(flow)
    schema = input_schema(flow)
    defaults = {field.name: field.default for field in reversed(fields) if field.default is not msgspec.UNSET}
    schema["required"] = [name for name in schema["required"] if name not in defaults]
    return InputReader(
        check=validator(schema),
        defaults=defaults,
        integers=tuple(field.name for field in fields if field.type == "integer"),
        files={field.name: field for field in fields if field.type == "file"},
    )


def _fields(flow: Flow) -> list[Field]:
    return [field for node in flow.nodes if isinstance(node, ApiInput) for field in node.config.fields]


def _passes(check: Draft202012Validator, present: dict[str, Any]) -> bool:
    try:
        return check.is_valid(present)
    except ValueError:
        return False


def _unreadable(pointer: str) -> Fault:
    return Fault(pointer=pointer, detail="is not JSON")


def _refuse_endless(present: dict[str, Any], pointer: str) -> None:
    """Refuses nesting that could not be written down again; flat inputs, nearly all, pass at once."""
    for name, value in present.items():
        if isinstance(value, (dict, list)):
            try:
                weigh(value)
            except Unfit as unfit:
                raise InvalidInput([Fault(pointer=pointer_to(pointer, [name]), detail=f"is {unfit}")]) from None
