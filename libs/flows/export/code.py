"""Python expressions, written as a formatter would: on one line where they fit, else one part a line.

Whatever comes of users (texts, names, JSON) enters code by `literal` alone, so it can be nothing but data.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

WIDTH = 110
_INDENT = "    "
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """`function(arguments, name=value)`."""

    function: str
    arguments: "tuple[Expression, ...]" = ()
    named: "tuple[tuple[str, Expression], ...]" = ()


class Name(msgspec.Struct, frozen=True):
    """Code of ours, taken as it is."""

    code: str


class Members(msgspec.Struct, frozen=True):
    """`{"key": value}`."""

    items: "tuple[tuple[str, Expression], ...]"


class Items(msgspec.Struct, frozen=True):
    """`[item]`, or `(item,)`."""

    items: "tuple[Expression, ...]"
    brackets: str = "[]"


class Constant(msgspec.Struct, frozen=True):
    """A string, number, boolean or None."""

    value: str | int | float | bool | None


Expression: TypeAlias = Call | Name | Members | Items | Constant


def data(value: Any) -> Expression:
    """JSON as Python; any tuple in it as a tuple."""
    match value:
        case dict():
            return Members(tuple((key, data(item)) for key, item in value.items()))
        case list():
            return Items(tuple(map(data, value)))
        case tuple():
            return Items(tuple(map(data, value)), brackets="()")
    return Constant(value)


def literal(value: str | float | bool | None) -> str:
    """The Python literal of a value: printable, on one line, in double quotes."""
    if not isinstance(value, str):
        return repr(value)
    return '"' + "".join(map(_character, value)) + '"'


def written(expression: Expression, indent: str = "", before: int = 0, after: int = 1) -> str:
    """The code, its first line behind `before` characters of a line indented by `indent`.

    `after` characters follow on its last line.
    """
    flat = _flat(expression)
    lone = isinstance(expression, (Name, Constant)) and not _has_lines(expression)
    if lone or (not _has_lines(expression) and len(indent) + before + len(flat) + after <= WIDTH):
        return flat
    deeper = indent + _INDENT
    match expression:
        case Constant(value=str() as text):
            return _lines("(", [literal(line) for line in text.splitlines(keepends=True)], ")", deeper, "")
        case Call():
            parts = [written(each, deeper) for each in expression.arguments]
            parts += [f"{name}={written(each, deeper, len(name) + 1)}" for name, each in expression.named]
            return _lines(f"{expression.function}(", parts, ")", deeper)
        case Members():
            keyed = [(literal(key), each) for key, each in expression.items]
            return _lines("{", [f"{key}: {written(each, deeper, len(key) + 2)}" for key, each in keyed], "}", deeper)
        case Items(brackets=brackets):
            return _lines(brackets[0], [written(each, deeper) for each in expression.items], brackets[1], deeper)
    return flat


def _lines(opening: str, parts: Sequence[str], closing: str, deeper: str, separator: str = ",") -> str:
    body = "".join(f"{deeper}{part}{separator}\n" for part in parts)
    return f"{opening}\n{body}{deeper.removesuffix(_INDENT)}{closing}"


def _has_lines(expression: Expression) -> bool:
    """Whether a text within is better read line by line."""
    match expression:
        case Constant(value=str() as text):
            return "\n" in text.rstrip("\n")
        case Call(arguments=arguments, named=named):
            return any(map(_has_lines, arguments)) or any(_has_lines(each) for _, each in named)
        case Members(items=items):
            return any(_has_lines(each) for _, each in items)
        case Items(items=parts):
            return any(map(_has_lines, parts))
    return False


def _flat(expression: Expression) -> str:
    match expression:
        case Name(code=code):
            return code
        case Constant(value=value):
            return literal(value)
        case Call():
            parts = [_flat(each) for each in expression.arguments]
            return f"{expression.function}({_joined([*parts, *(f'{n}={_flat(e)}' for n, e in expression.named)])})"
        case Members(items=items):
            return f"{{{_joined(f'{literal(key)}: {_flat(each)}' for key, each in items)}}}"
        case Items(items=parts, brackets=brackets):
            lone = "," if brackets == "()" and len(parts) == 1 else ""
            return f"{brackets[0]}{_joined(map(_flat, parts))}{lone}{brackets[1]}"


def _joined(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _character(character: str) -> str:
    if escaped := _ESCAPED.get(character):
        return escaped
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
