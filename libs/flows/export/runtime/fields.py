"""The input, checked against the declared fields. Null counts as absent; members that no field declares are kept."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NotRequired, TypedDict

from libs.flows.export.runtime.values import to_json
from libs.flows.weight import MAX_DEPTH

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "file": (dict, str),
}


class Field(TypedDict):
    """One declared value. `matches` is `pattern`, compiled; for a file the lengths count its bytes."""

    name: str
    type: str
    required: NotRequired[bool]
    default: NotRequired[Any]
    enum: NotRequired[list[Any]]
    pattern: NotRequired[str]
    matches: NotRequired[Callable[[str], object]]
    min_length: NotRequired[int]
    max_length: NotRequired[int]
    minimum: NotRequired[float]
    maximum: NotRequired[float]


class InvalidInput(Exception):
    """The input does not fit; `faults` are (field, what is wrong), the field "" for the whole."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__("\n".join(f"{name or 'input'}: {detail}" for name, detail in faults))
        self.faults = tuple(faults)


def read_input(fields: Sequence[Field], given: Any) -> dict[str, Any]:
    """The input with defaults filled in. Raises `InvalidInput` with every fault."""
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise InvalidInput([("", "must be object")])
    present = {name: value for name, value in given.items() if value is not None}
    defaults = {field["name"]: field["default"] for field in reversed(fields) if "default" in field}
    faults: list[tuple[str, str]] = []
    faults += [(name, f"is nested more than {MAX_DEPTH} levels deep") for name in present if _is_deep(present[name])]
    for field in fields:
        name = field["name"]
        if name in present:
            faults += [(name, detail) for detail in _faults(field, present[name])]
        elif field.get("required") and name not in defaults:
            faults.append((name, "is required"))
    if faults:
        raise InvalidInput(list(dict.fromkeys(faults)))
    for field in fields:
        value = present.get(field["name"])
        if field["type"] == "integer" and isinstance(value, float):
            present[field["name"]] = int(value)
    return {**given, **defaults, **present}


def _faults(field: Field, value: Any) -> Iterator[str]:
    """What is wrong with a value, by the rules of JSON Schema (draft 2020-12)."""
    if not _is_of_type(value, field["type"]):
        yield f"must be {field['type']}"
        return
    if "enum" in field and not any(_same(value, choice) for choice in field["enum"]):
        yield f"must be one of {', '.join(map(to_json, field['enum']))}"
    if "matches" in field and not field["matches"](value):
        yield f"must match {field['pattern']}"
    if field["type"] != "file" and isinstance(value, (str, list, dict)):
        if len(value) > field.get("max_length", len(value)):
            yield f"must not be longer than {field['max_length']}"
        if len(value) < field.get("min_length", 0):
            yield f"must not be shorter than {field['min_length']}"
    if isinstance(value, (int, float)):
        if value > field.get("maximum", value):
            yield f"must be at most {to_json(field['maximum'])}"
        if value < field.get("minimum", value):
            yield f"must be at least {to_json(field['minimum'])}"


def _is_of_type(value: Any, name: str) -> bool:
    """A boolean is never a number; a number without a fraction is an integer, 3.0 too."""
    if isinstance(value, bool) and name != "boolean":
        return False
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES[name])


def _is_deep(value: Any) -> bool:
    """Whether a value could not be written down again; level by level, so that no depth exhausts the stack."""
    level = [value]
    for _ in range(MAX_DEPTH):
        arrays = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, (dict, list))]
        level = [item for items in arrays for item in items]
    return bool(level)


def _same(one: Any, other: Any) -> bool:
    """Equality of JSON: 1 is 1.0, but true is not 1, at any depth."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return bool(one == other)
