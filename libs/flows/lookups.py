"""One `{{ … }}` of a template: a path to read, and filters to send it through.

    lookup := root step* ("|" filter)*
    root   := node id | "session" | "run" | "secret"
    step   := "." name | "[" integer "]" | '["' any name '"]'
    filter := name | "default:" JSON scalar

`.0` and `[0]` read an array's first element, `[-1]` its last. A path that leads nowhere reads as null, but a
secret that isn't set fails the node: an empty credential would only fail elsewhere, and less clearly.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec

from libs.flows.filters import FILTERS, default_filter
from libs.flows.scope import Scope
from libs.runtime.failures import Terminal

ROOTS = frozenset({"session", "run", "secret"})
"""What a lookup may begin with besides a node's id; no node may take such an id."""

_SPACE = re.compile(r"[ \t\r\n]*")
_ROOT = re.compile(r"[A-Za-z0-9_-]{1,64}(?![A-Za-z0-9_-])")
_STEP = re.compile(r"""\.([\w-]+)|\[(-?[0-9]{1,9})\]|\[("(?:[^"\\]|\\.)*")\]""")
_FILTER = re.compile(r"""\|[ \t\r\n]*([a-z_]+)(?:[ \t]*:[ \t]*("(?:[^"\\]|\\.)*"|[-+.\w]+))?[ \t\r\n]*""")
_END = re.compile(r"\}\}")


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What a lookup or an expression reads: a node, or `session`, `run`, `secret`; `name` is its first step."""

    root: str
    name: str | None = None


class Lookup(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled `{{ … }}`: `read(scope)` gives its value; `encoded` if the last filter is `urlencode`."""

    reference: Reference
    read: Callable[[Scope], Any]
    encoded: bool = False


class BadLookup(ValueError):
    """A `{{ … }}` that can't be read; the text says why."""


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    key: str | None
    index: int | None


def parse_lookup(text: str, start: int) -> tuple[Lookup, int]:
    """The lookup whose first character after `{{` is `text[start]`, and the position behind its `}}`."""
    position = _skip(text, start)
    root = _ROOT.match(text, position)
    if root is None:
        raise BadLookup("expected a node id, `session`, `run` or `secret` after `{{`")
    steps, position = _parse_steps(text, root.end())
    filters, names, position = _parse_filters(text, _skip(text, position))
    end = _END.match(text, position)
    if end is None:
        problem = "is not a path" if "}}" in text[position:] else "is never closed by `}}`"
        raise BadLookup(f"`{{{{ {root[0]}…` {problem}")
    reference = Reference(root=root[0], name=steps[0].key if steps else None)
    read = _filtered(_reader(root[0], steps), filters)
    encoded = bool(names) and names[-1] == "urlencode"
    return Lookup(reference=reference, read=read, encoded=encoded), end.end()


def _skip(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    return space.end() if space else position


def _parse_steps(text: str, position: int) -> tuple[tuple[_Step, ...], int]:
    steps = []
    while found := _STEP.match(text, position):
        name, index, quoted = found.groups()
        if name is not None:
            is_index = name.isascii() and name.isdigit() and len(name) < 10
            steps.append(_Step(key=name, index=int(name) if is_index else None))
        elif index is not None:
            steps.append(_Step(key=index, index=int(index)))
        else:
            steps.append(_Step(key=_scalar(quoted, "name"), index=None))
        position = found.end()
    return tuple(steps), position


def _parse_filters(text: str, position: int) -> tuple[list[Callable[[Any], Any]], list[str], int]:
    filters, names = [], []
    while found := _FILTER.match(text, position):
        name, argument = found.groups()
        if name == "default":
            if argument is None:
                raise BadLookup('the filter `default` needs a value: `default:"x"`')
            filters.append(default_filter(_scalar(argument, "default")))
        elif name not in FILTERS:
            raise BadLookup(f"unknown filter `{name}`; known: default, {', '.join(FILTERS)}")
        elif argument is not None:
            raise BadLookup(f"the filter `{name}` takes no value")
        else:
            filters.append(FILTERS[name])
        names.append(name)
        position = found.end()
    return filters, names, position


def _scalar(source: str, what: str) -> Any:
    try:
        return msgspec.json.decode(source)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise BadLookup(f"the {what} is not JSON text") from None


def _reader(root: str, steps: tuple[_Step, ...]) -> Callable[[Scope], Any]:
    if root == "secret":
        return _secret_reader(steps)
    if root in ROOTS:
        return lambda scope: _walk(getattr(scope, root), steps)
    match steps:
        case ():
            return lambda scope: scope.outputs.get(root)
        case _:
            return lambda scope: _walk(scope.outputs.get(root), steps)


def _secret_reader(steps: tuple[_Step, ...]) -> Callable[[Scope], Any]:
    if len(steps) != 1 or steps[0].key is None:
        raise BadLookup("a secret is read by its name alone: `{{ secret.NAME }}`")
    name = steps[0].key

    def read(scope: Scope) -> str:
        try:
            return scope.secrets[name]
        except KeyError:
            raise Terminal("node_failed", f"the secret {name!r} is not set") from None

    return read


def _walk(value: Any, steps: tuple[_Step, ...]) -> Any:
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step.key)
        elif isinstance(value, list) and step.index is not None:
            value = value[step.index] if -len(value) <= step.index < len(value) else None
        else:
            return None
    return value


def _filtered(read: Callable[[Scope], Any], filters: list[Callable[[Any], Any]]) -> Callable[[Scope], Any]:
    if not filters:
        return read

    def through(scope: Scope) -> Any:
        value = read(scope)
        for apply in filters:
            value = apply(value)
        return value

    return through
