"""`template`: a text, or any JSON value, with lookups filled in."""

from typing import Annotated, Any, ClassVar

from msgspec import UNSET, Meta, UnsetType

from libs.flows.nodes.node import Config, LongText, Node
from libs.flows.scope import Scope
from libs.flows.sources import Sources
from libs.flows.templates import Renderer


class TemplateConfig(Config, frozen=True, kw_only=True):
    """Exactly one of `text` and `value`; `{{ node.path }}` in either reads an earlier node's output."""

    text: Annotated[LongText, Meta(description='a text; the output is {"text": …}')] | UnsetType = UNSET
    value: Annotated[Any, Meta(description="any JSON, templated throughout; the output is the value")] = UNSET


class Template(Node[Renderer], frozen=True, kw_only=True, tag="template"):
    """Fills lookups into a text or a JSON value."""

    title: ClassVar[str] = "Template"
    output: ClassVar[str] = '{"text": string}, or the value'

    config: TemplateConfig

    def compile(self, sources: Sources) -> Renderer:
        text, value = self.config.text, self.config.value
        if (text is UNSET) == (value is UNSET):
            sources.fault("", "must have exactly one of `text` and `value`")
        return (
            sources.value("/value", None if value is UNSET else value) if text is UNSET else sources.text("/text", text)
        )

    def evaluate(self, scope: Scope) -> Any:
        rendered = self.program.render(scope)
        return rendered if self.config.text is UNSET else {"text": rendered}
