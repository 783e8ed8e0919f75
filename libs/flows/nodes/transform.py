"""`transform`: reshapes earlier outputs by a JMESPath expression."""

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from libs.flows.expressions import Expression
from libs.flows.nodes.node import Config, Node, ShortText
from libs.flows.scope import Scope
from libs.flows.sources import Sources


class TransformConfig(Config, frozen=True, kw_only=True):
    """An expression over the outputs by node id; ids with dashes or leading digits are quoted: `"llm-1".text`."""

    expression: Annotated[ShortText, Meta(min_length=1, description="JMESPath, such as `in.items[?price > `3`].name`")]


class Transform(Node[Expression], frozen=True, kw_only=True, tag="transform"):
    """Evaluates JMESPath over the outputs of earlier nodes."""

    title: ClassVar[str] = "Transform"
    output: ClassVar[str] = "the expression's result, any JSON"

    config: TransformConfig

    def compile(self, sources: Sources) -> Expression:
        return sources.expression("/expression", self.config.expression)

    def evaluate(self, scope: Scope) -> Any:
        return self.program.evaluate(scope, "transform")
