"""Templates as Python expressions: `Hello, {{ in.name | upper }}!` → `text("Hello, ", upper(read(…, "in", "name")))`.

The flow is valid, so what stands in its templates is known to be sound: here it is only taken apart again.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from libs.flows.export.code import Call, Constant, Expression, Items, Members, Name, data
from libs.flows.lookups import parse_lookup
from libs.flows.scope import Scope
from libs.flows.templates import compile_value

_ROOT = re.compile(r"[ \t\r\n]*([A-Za-z0-9_-]+)")
_STEP = re.compile(r"""\.([\w-]+)|\[(-?[0-9]+)\]|\[("(?:[^"\\]|\\.)*")\]""")
_FILTER = re.compile(r"""[ \t\r\n]*\|[ \t\r\n]*([a-z_]+)(?:[ \t]*:[ \t]*("(?:[^"\\]|\\.)*"|[-+.\w]+))?""")
_IN_AUTHORITY = re.compile(r"https?://[^/?#]*\Z", re.IGNORECASE)
_FILTER_FUNCTIONS = {"json": "to_json"}
_NOTHING = Scope(outputs={}, run={}, session={}, secrets={}, idempotency_key="", now=datetime.min.replace(tzinfo=UTC))
"""What constants are rendered with: they read nothing."""


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A lookup as code; `encoded` if its last filter is `urlencode`."""

    code: Call
    encoded: bool


def text_code(template: str, secrets: Mapping[str, str]) -> Expression:
    """A template that renders to a string. `secrets`: environment variable by secret."""
    parts = _parts(template, secrets)
    match parts:
        case []:
            return Constant("")
        case [str() as literal]:
            return Constant(literal)
    return Call(
        function="text", arguments=tuple(Constant(each) if isinstance(each, str) else each.code for each in parts)
    )


def value_code(value: Any, secrets: Mapping[str, str]) -> Expression:
    """Any JSON, templated throughout; what holds lookups is weighed, as it may hold much many times."""
    code = _value(value, secrets)
    if isinstance(value, (dict, list)) and compile_value(value).references:
        return Call(function="weighed", arguments=(code, Constant("template")))
    return code


def url_code(template: str, secrets: Mapping[str, str]) -> Expression:
    """A template that renders to a URL whose values can't leave their place in it."""
    arguments: list[Expression] = []
    before = ""
    for part in _parts(template.strip(), secrets):
        if isinstance(part, str):
            arguments.append(Constant(part))
            before += part
            continue
        if not before or part.encoded:
            arguments.append(part.code)
        elif _IN_AUTHORITY.match(before):
            arguments.append(Call(function="host_part", arguments=(part.code,)))
        else:
            arguments.append(Call(function="urlencode", arguments=(part.code,)))
        before += "x"
    match arguments:
        case [Constant() as whole]:
            return Call(function="checked_url", arguments=(whole,))
    return Call(function="checked_url", arguments=(Call(function="text", arguments=tuple(arguments)),))


def _value(value: Any, secrets: Mapping[str, str]) -> Expression:
    compiled = compile_value(value)
    if not compiled.references:
        return data(compiled.render(_NOTHING))
    match value:
        case list():
            return Items(tuple(_value(item, secrets) for item in value))
        case dict():
            return Members(tuple((key, _value(item, secrets)) for key, item in value.items()))
    match _parts(value, secrets):
        case [Piece() as lone]:
            return lone.code
    return text_code(value, secrets)


def _parts(template: str, secrets: Mapping[str, str]) -> list[str | Piece]:
    """The literal texts and the lookups, in order."""
    parts: list[str | Piece] = []
    literal = ""
    position = 0
    while (start := template.find("{{", position)) >= 0:
        if start > position and template[start - 1] == "\\":
            literal += template[position : start - 1] + "{{"
            position = start + 2
            continue
        literal += template[position:start]
        _, position = parse_lookup(template, start + 2)
        parts += [literal] if literal else []
        parts.append(_piece(template[start + 2 : position - 2], secrets))
        literal = ""
    literal += template[position:]
    return [*parts, literal] if literal else parts


def _piece(source: str, secrets: Mapping[str, str]) -> Piece:
    """The code of what stands between `{{` and `}}`."""
    found = _ROOT.match(source)
    root, position = (found[1], found.end()) if found else ("", 0)
    path: list[Expression] = []
    while step := _STEP.match(source, position):
        path.append(_step(*step.groups()))
        position = step.end()
    code = _read(root, path, secrets)
    last = ""
    while applied := _FILTER.match(source, position):
        last, argument = applied.groups()
        more = () if argument is None else (data(msgspec.json.decode(argument)),)
        code = Call(function=_FILTER_FUNCTIONS.get(last, last), arguments=(code, *more))
        position = applied.end()
    return Piece(code=code, encoded=last == "urlencode")


def _step(name: str | None, index: str | None, quoted: str | None) -> Expression:
    """A name is a string; an index is a number, or key and number where its digits are not what it prints as."""
    if quoted is not None:
        return Constant(msgspec.json.decode(quoted, type=str))
    key = name if name is not None else index or ""
    if index is None and not (key.isascii() and key.isdigit() and len(key) < 10):
        return Constant(key)
    number = int(key)
    return Constant(number) if str(number) == key else data((key, number))


def _read(root: str, path: list[Expression], secrets: Mapping[str, str]) -> Call:
    if root == "secret" and isinstance(path[0], Constant):
        name = str(path[0].value)
        return Call(function="secret", arguments=(Constant(name), Constant(secrets[name])))
    if root in ("run", "session"):
        return Call(function="read", arguments=(Name(f"scope.{root}"), *path))
    return Call(function="read", arguments=(Name("scope.outputs"), Constant(root), *path))
