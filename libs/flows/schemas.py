"""JSON Schema of our Structs, and its verdicts in our words.

jsonschema-rs validates: it knows no network here (`offline`), so a `$ref` can't be made to fetch anything, and
its regular expressions take linear time, so a pattern can't be made to hang.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from libs.flows.faults import Fault, pointer_to, printable

_PATTERN_BYTES = 1024 * 1024


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """A compiled validator. Raises ValueError for a schema that is none, a pattern the engine lacks included."""
    options = RegexOptions(size_limit=_PATTERN_BYTES, dfa_size_limit=_PATTERN_BYTES)
    return Draft202012Validator(schema, offline=True, pattern_options=options)


def struct_schema(struct: type) -> dict[str, Any]:
    """The schema of a Struct, its own keywords on top, with what it refers to in `$defs`."""
    schema = msgspec.json.schema(struct)
    definitions = schema["$defs"]
    own: dict[str, Any] = definitions.pop(schema["$ref"].removeprefix("#/$defs/"))
    return {**own, "$defs": definitions} if definitions else own


def schema_faults(check: Draft202012Validator, instance: Any, pointer: str) -> list[Fault]:
    """Every fault of `instance`, their pointers extending `pointer`."""
    try:
        return [fault for error in check.iter_errors(instance) for fault in _faults(error, pointer)]
    except ValueError:
        return [Fault(pointer=pointer, detail="is not JSON")]


def _faults(error: ValidationError, pointer: str) -> Iterator[Fault]:
    path = list(error.instance_path)
    kind: Any = error.kind
    match kind.name:
        case "required":
            yield Fault(pointer=pointer_to(pointer, [*path, kind.property]), detail="is required")
        case "additionalProperties":
            for key in kind.unexpected:
                yield Fault(pointer=pointer_to(pointer, [*path, key]), detail="is not a known key")
        case "anyOf" | "oneOf":
            yield from _nearest(kind.context, error, pointer)
        case _:
            yield Fault(pointer=pointer_to(pointer, path), detail=_detail(kind))


def _nearest(branches: list[list[ValidationError]], error: ValidationError, pointer: str) -> Iterator[Fault]:
    """The faults of the branch that was meant: one that isn't merely of another type, if there is exactly one."""
    at = len(error.instance_path)
    meant = [
        branch
        for branch in branches
        if not any(each.kind.name == "type" and len(each.instance_path) == at for each in branch)
    ]
    if len(meant) == 1:
        for each in meant[0]:
            yield from _faults(each, pointer)
        return
    names = _alternatives(meant or branches)
    yield Fault(pointer=pointer_to(pointer, error.instance_path), detail=f"must be {' or '.join(names)}")


def _alternatives(branches: list[list[ValidationError]]) -> list[str]:
    names: list[str] = []
    for each in (each for branch in branches for each in branch):
        kind: Any = each.kind
        match kind.name:
            case "type":
                names += [name for name in kind.types if name != "null"]
            case "required":
                names.append(f"an object with {kind.property!r}")
    return list(dict.fromkeys(names)) or ["of another form"]


def _detail(kind: Any) -> str:
    match kind.name:
        case "type":
            return f"must be {' or '.join(kind.types)}"
        case "enum":
            return f"must be one of {_listed(kind.options)}"
        case "const":
            return f"must be {_listed([kind.expected_value])}"
        case "pattern":
            return f"must match {printable(kind.pattern)}"
        case "maxLength" | "maxItems" | "maxProperties":
            return f"must not be longer than {kind.limit}"
        case "minLength" | "minItems" | "minProperties":
            return f"must not be shorter than {kind.limit}"
        case "maximum":
            return f"must be at most {kind.limit}"
        case "minimum":
            return f"must be at least {kind.limit}"
        case "exclusiveMaximum":
            return f"must be less than {kind.limit}"
        case "exclusiveMinimum":
            return f"must be more than {kind.limit}"
    return f"breaks the rule {kind.name}"


def _listed(options: Any) -> str:
    values = options if isinstance(options, list) else [options]
    return printable(", ".join(msgspec.json.encode(value).decode() for value in values))
