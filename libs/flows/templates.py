r"""Templates: texts, and JSON values made of texts, with `{{ path }}` lookups. Not programs: no loops, no calls.

Inside a text a lookup reads as text: null as nothing, a string as it is, anything else as JSON. A string that is
one lone lookup keeps the JSON type of what it reads. `\{{` stands for two literal braces; `}}` needs no escape.
What a lookup yields is data and is never read as a template again. `lookups` has the grammar.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import msgspec

from libs.flows.faults import MAX_FAULTS, Fault, pointer_to
from libs.flows.filters import text_of
from libs.flows.lookups import BadLookup, Lookup, Reference, parse_lookup
from libs.flows.scope import Scope
from libs.flows.weight import MAX_BYTES, weighed
from libs.runtime.failures import Terminal

Placed: TypeAlias = tuple[str, Reference]
"""A reference with the JSON pointer of the string that holds it."""


class Renderer(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled template: `render(scope)` gives its value; `references` says what it reads, and where.

    Rendering raises `Terminal` "node_failed" where the result passes `weight.MAX_BYTES` or a secret isn't set.
    """

    render: Callable[[Scope], Any]
    references: tuple[Placed, ...] = ()


class InvalidTemplate(ValueError):
    """A template has faults; `references` are those of its sound lookups. Pointers count from its own root."""

    def __init__(self, faults: Sequence[Fault], references: Sequence[Placed] = ()) -> None:
        super().__init__(faults[0].detail)
        self.faults = faults
        self.references = references


def compile_template(text: str) -> Renderer:
    """A template that always renders to a string. Raises `InvalidTemplate`."""
    parts = parts_of(text)
    return Renderer(render=_text(parts), references=references_of(parts))


def compile_value(value: Any) -> Renderer:
    """A JSON value whose strings are templates, at any depth; keys are not. Raises `InvalidTemplate`."""
    faults: list[Fault] = []
    references: list[Placed] = []
    render = _value(value, "", faults, references)
    if faults:
        raise InvalidTemplate(faults, references)
    if references and isinstance(value, (dict, list)):
        return Renderer(render=lambda scope: weighed(render(scope), "template"), references=tuple(references))
    return Renderer(render=render, references=tuple(references))


def parts_of(text: str) -> tuple[str | Lookup, ...]:
    """The literal texts and lookups a template is made of, in order. Raises `InvalidTemplate`."""
    parts: list[str | Lookup] = []
    faults: list[Fault] = []
    literal = ""
    position = 0
    while (start := text.find("{{", position)) >= 0 and len(faults) < MAX_FAULTS:
        if text.startswith("\\", start - 1) and start > position:
            literal += text[position : start - 1] + "{{"
            position = start + 2
            continue
        literal += text[position:start]
        try:
            lookup, position = parse_lookup(text, start + 2)
        except BadLookup as bad:
            faults.append(Fault(pointer="", detail=f"at character {start + 1}: {bad}"))
            position = start + 2
            continue
        parts += [literal, lookup] if literal else [lookup]
        literal = ""
    if faults:
        raise InvalidTemplate(faults, references_of(parts))
    literal += text[position:]
    return (*parts, literal) if literal else tuple(parts)


def references_of(parts: Sequence[str | Lookup], pointer: str = "") -> tuple[Placed, ...]:
    """What the lookups among `parts` read, all of them placed at `pointer`."""
    return tuple((pointer, part.reference) for part in parts if isinstance(part, Lookup))


def _constant(value: Any) -> Callable[[Scope], Any]:
    return lambda scope: value


def _text(parts: tuple[str | Lookup, ...]) -> Callable[[Scope], str]:
    match parts:
        case ():
            return _constant("")
        case (str() as literal,):
            return _constant(literal)
    pieces = [_constant(part) if isinstance(part, str) else part.read for part in parts]

    def render(scope: Scope) -> str:
        texts = []
        room = MAX_BYTES
        for piece in pieces:
            text = text_of(piece(scope))
            room -= len(text)
            if room < 0:
                raise Terminal("node_failed", f"a template's text is larger than {MAX_BYTES} characters")
            texts.append(text)
        return "".join(texts)

    return render


def _value(value: Any, pointer: str, faults: list[Fault], references: list[Placed]) -> Callable[[Scope], Any]:
    """A function that renders `value`; collects its faults and references."""
    before = len(references)
    match value:
        case str():
            return _string(value, pointer, faults, references)
        case list():
            items = [_value(item, f"{pointer}/{at}", faults, references) for at, item in enumerate(value)]
            return _constant(value) if len(references) == before else _array(items)
        case dict():
            members = [
                (key, _value(item, pointer_to(pointer, [key]), faults, references)) for key, item in value.items()
            ]
            return _constant(value) if len(references) == before else _object(members)
    return _constant(value)


def _string(text: str, pointer: str, faults: list[Fault], references: list[Placed]) -> Callable[[Scope], Any]:
    try:
        parts = parts_of(text)
    except InvalidTemplate as invalid:
        faults += [Fault(pointer=pointer, detail=fault.detail) for fault in invalid.faults]
        references += [(pointer, reference) for _, reference in invalid.references]
        return _constant(None)
    references += references_of(parts, pointer)
    match parts:
        case (Lookup() as lone,):
            return lone.read
    return _text(parts)


def _array(items: list[Callable[[Scope], Any]]) -> Callable[[Scope], Any]:
    return lambda scope: [item(scope) for item in items]


def _object(members: list[tuple[str, Callable[[Scope], Any]]]) -> Callable[[Scope], Any]:
    return lambda scope: {key: item(scope) for key, item in members}
