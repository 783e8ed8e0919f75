"""The fields of an `api_input` node: what a caller sends, as JSON Schema (draft 2020-12) and to be filled in."""

from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, UnsetType

from libs.flows.nodes.node import Config
from libs.runtime.media_types import matches

FieldType = Literal["string", "number", "integer", "boolean", "object", "array", "file"]
Length = Annotated[int, Meta(ge=0, le=2**31)]
Bound = float | int

_LENGTHS = {
    "string": ("minLength", "maxLength"),
    "array": ("minItems", "maxItems"),
    "object": ("minProperties", "maxProperties"),
}


class Field(Config, frozen=True, kw_only=True):
    """One named value of the input.

    `min_length` and `max_length` count characters, an array's items, an object's members or a file's bytes;
    `pattern` is searched for anywhere in the string, as JSON Schema does, by an engine of linear time. The `enum`
    of a file lists content types, such as `text/plain` or `image/*`, and is checked when the file is read.
    """

    CHECKS: ClassVar[frozenset[str]] = frozenset({"enum", "pattern", "min_length", "max_length", "minimum", "maximum"})

    name: Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]
    type: FieldType = "string"
    required: bool = False
    default: Annotated[Any, Meta(description="used where the caller sends nothing or null")] = UNSET
    description: Annotated[str, Meta(max_length=2_000)] = ""
    enum: Annotated[list[Any], Meta(min_length=1, max_length=500)] | UnsetType = UNSET
    pattern: Annotated[str, Meta(max_length=1_000)] | UnsetType = UNSET
    min_length: Length | UnsetType = UNSET
    max_length: Length | UnsetType = UNSET
    minimum: Bound | UnsetType = UNSET
    maximum: Bound | UnsetType = UNSET
    test_value: Annotated[Any, Meta(description="fills the examples of a deployment")] = UNSET


def field_schema(field: Field) -> dict[str, Any]:
    """The JSON Schema of one value of the field, without null."""
    schema = _type_schema(field)
    if field.description:
        schema["description"] = field.description
    enum = UNSET if field.type == "file" else field.enum
    for keyword, value in (("enum", enum), ("pattern", field.pattern), ("default", field.default)):
        if value is not UNSET:
            schema[keyword] = value
    for keyword, bound in (("minimum", field.minimum), ("maximum", field.maximum)):
        if bound is not UNSET:
            schema[keyword] = bound
    if field.test_value is not UNSET:
        schema["examples"] = [field.test_value]
    return schema


def _type_schema(field: Field) -> dict[str, Any]:
    if field.type == "file":
        return _file_schema(field)
    keywords = _LENGTHS.get(field.type, ())
    lengths = zip(keywords, (field.min_length, field.max_length), strict=False)
    return {"type": field.type} | {keyword: length for keyword, length in lengths if length is not UNSET}


def _file_schema(field: Field) -> dict[str, Any]:
    """A file by the id of an upload, by address, or already read; a plain string is an address or an id."""
    size: dict[str, Any] = {"type": "integer", "minimum": 0}
    if field.min_length is not UNSET:
        size["minimum"] = field.min_length
    if field.max_length is not UNSET:
        size["maximum"] = field.max_length
    return {
        "type": ["object", "string"],
        "minLength": 1,
        "maxLength": 4_096,
        "properties": {
            "file_id": {"type": "string", "minLength": 1, "maxLength": 200},
            "url": {"type": "string", "pattern": "^[Hh][Tt][Tt][Pp][Ss]?://", "maxLength": 4_096},
            "name": {"type": "string", "maxLength": 255},
            "content_type": {"type": "string", "maxLength": 255},
            "size": size,
            "text": {"type": ["string", "null"]},
            "base64": {"type": "string"},
        },
        "anyOf": [{"required": ["file_id"]}, {"required": ["url"]}, {"required": ["base64"]}],
    }


def file_value(value: Any) -> Any:
    """A file as an object: a string that begins like an address is one, any other is an upload's id."""
    if not isinstance(value, str):
        return value
    return {"url": value} if value.lower().startswith(("http://", "https://")) else {"file_id": value}


def file_fault(field: Field, size: int, content_type: str) -> str | None:
    """What keeps a file, once it is known, from being a value of the field; None where nothing does."""
    if field.max_length is not UNSET and size > field.max_length:
        return f"is larger than {field.max_length} bytes"
    if field.min_length is not UNSET and size < field.min_length:
        return f"is smaller than {field.min_length} bytes"
    if field.enum is not UNSET and not matches(content_type, field.enum):
        return f"is {content_type}, not one of {', '.join(field.enum)}"
    return None


def inapplicable(field: Field) -> list[str]:
    """The checks that a field of this type can't have, such as a `pattern` on a number."""
    allowed = {"enum"}
    if field.type == "string":
        allowed |= {"pattern", "min_length", "max_length"}
    elif field.type in ("array", "object", "file"):
        allowed |= {"min_length", "max_length"}
    elif field.type in ("number", "integer"):
        allowed |= {"minimum", "maximum"}
    return sorted(key for key in Field.CHECKS - allowed if getattr(field, key) is not UNSET)


def sample_value(field: Field) -> Any:
    """What an example sends for the field: its test value, default or first choice, else a plain value."""
    for value in (field.test_value, field.default):
        if value is not UNSET:
            return value
    if field.enum is not UNSET and field.type != "file":
        return field.enum[0]
    plain = {"number": 1.0, "integer": 1, "boolean": True, "object": {}, "array": []}
    if field.type == "file":
        return {"url": "https://example.com/file.txt"}
    return plain.get(field.type, f"<{field.name}>")
