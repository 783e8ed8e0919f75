"""The fields of the input as entries of the file's `FIELDS`, shaped as the runtime's `fields.Field`."""

from typing import Any

from msgspec import UNSET

from libs.flows.export.code import Expression, Members, Name, data, literal
from libs.flows.export.patterns import python_pattern
from libs.flows.nodes.fields import Field

_CHECKS = ("enum", "pattern", "min_length", "max_length", "minimum", "maximum")


def field_code(field: Field) -> Expression:
    """What is checked of a field and filled in; its description stands in the file's head."""
    entry: dict[str, Any] = {"name": field.name, "type": field.type}
    if field.required:
        entry["required"] = True
    if field.default is not UNSET:
        entry["default"] = field.default
    entry |= {check: value for check in _CHECKS if (value := getattr(field, check)) is not UNSET}
    members = [(key, data(value)) for key, value in entry.items()]
    if isinstance(field.pattern, str):
        members.append(("matches", _matcher(field.pattern)))
    return Members(tuple(members))


def _matcher(pattern: str) -> Expression:
    """A function that says whether a string matches, by `re` where that is sure to mean the same."""
    translated = python_pattern(pattern)
    if translated is not None:
        return Name(f"re.compile({literal(translated)}).search")
    check = f'{{"pattern": {literal(pattern)}}}, pattern_options=jsonschema_rs.RegexOptions()'
    return Name(f"jsonschema_rs.Draft202012Validator({check}).is_valid")
