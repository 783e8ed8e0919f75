"""Compiles what a node's config holds (templates, addresses, expressions) and collects what is wrong with it.

A node says once what its config means, in `compile(sources)`; validation reads the faults and references that
come of it, runs use the compiled result.
"""

from typing import Any

from libs.flows.expressions import Expression, InvalidExpression, compile_expression
from libs.flows.faults import Fault
from libs.flows.lookups import Reference
from libs.flows.templates import InvalidTemplate, Renderer, compile_template, compile_value
from libs.flows.urls import compile_url

_NOTHING = Renderer(render=lambda scope: None)
_NULL = Expression(tree={"type": "literal", "value": None, "children": []}, references=())


class Sources:
    """One node's compilation. Pointers count from the node's `config`; a faulty source compiles to null."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.references: list[tuple[str, Reference]] = []

    def text(self, pointer: str, source: str) -> Renderer:
        """A template that renders to a string."""
        try:
            return self._read(pointer, compile_template(source))
        except InvalidTemplate as invalid:
            return self._refuse(pointer, invalid)

    def value(self, pointer: str, source: Any) -> Renderer:
        """Any JSON, templated throughout."""
        try:
            return self._read(pointer, compile_value(source))
        except InvalidTemplate as invalid:
            return self._refuse(pointer, invalid)

    def url(self, pointer: str, source: str) -> Renderer:
        """A template that renders to an absolute http(s) URL."""
        try:
            return self._read(pointer, compile_url(source))
        except InvalidTemplate as invalid:
            return self._refuse(pointer, invalid)

    def expression(self, pointer: str, source: str) -> Expression:
        """A JMESPath expression."""
        try:
            expression = compile_expression(source)
        except InvalidExpression as invalid:
            self.fault(pointer, str(invalid))
            return _NULL
        self.references += [(pointer, reference) for reference in expression.references]
        return expression

    def fault(self, pointer: str, detail: str) -> None:
        """Something else that is wrong at `pointer`."""
        self.faults.append(Fault(pointer=pointer, detail=detail))

    def _read(self, pointer: str, renderer: Renderer) -> Renderer:
        self.references += [(pointer + place, reference) for place, reference in renderer.references]
        return renderer

    def _refuse(self, pointer: str, invalid: InvalidTemplate) -> Renderer:
        for fault in invalid.faults:
            self.fault(pointer + fault.pointer, fault.detail)
        self.references += [(pointer + place, reference) for place, reference in invalid.references]
        return _NOTHING
