"""`prompt`: asks a language model."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from libs.flows.effects import Message, ModelAnswer, ModelCall, Steps
from libs.flows.filters import text_of
from libs.flows.nodes.node import Config, LongText, Node
from libs.flows.scope import Scope
from libs.flows.sources import Sources
from libs.flows.templates import Renderer

MAX_TURNS = 50
"""The most recent turns of a session that a model is shown."""


class PromptConfig(Config, frozen=True, kw_only=True):
    """Which model is asked what. `system` and `prompt` are templates."""

    model: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}/[^\s/][^\s]{0,199}$",
            description="provider/name, such as `echo/echo`",
        ),
    ]
    prompt: Annotated[LongText, Meta(description="the user's message")]
    system: Annotated[LongText, Meta(description="what the model is told first")] = ""
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    history: Annotated[bool, Meta(description="send the session's earlier turns along")] = False
    stream: Annotated[bool, Meta(description="publish the answer as it grows")] = True


class PromptProgram(msgspec.Struct, frozen=True, kw_only=True):
    """The compiled templates."""

    system: Renderer
    prompt: Renderer


class Prompt(Node[PromptProgram], frozen=True, kw_only=True, tag="prompt"):
    """Sends a prompt to a model and outputs its answer with tokens and cost."""

    title: ClassVar[str] = "Prompt"
    output: ClassVar[str] = (
        '{"text": string, "reasoning": string or null, "model": string, '
        '"usage": {"input_tokens": integer, "output_tokens": integer}, "cost_usd": number}'
    )
    effects: ClassVar[bool] = True

    config: PromptConfig

    def compile(self, sources: Sources) -> PromptProgram:
        return PromptProgram(
            system=sources.text("/system", self.config.system), prompt=sources.text("/prompt", self.config.prompt)
        )

    def steps(self, scope: Scope) -> Steps:
        answer: ModelAnswer = yield ModelCall(
            model=self.config.model,
            messages=self._messages(scope),
            temperature=self.config.temperature,
            max_tokens=self.config.max_tokens,
            stream=self.config.stream,
        )
        return {
            "text": answer.text,
            "reasoning": answer.reasoning,
            "model": answer.model,
            "usage": {"input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens},
            "cost_usd": answer.cost_usd,
        }

    def _messages(self, scope: Scope) -> list[Message]:
        messages: list[Message] = []
        system = self.program.system.render(scope)
        if system:
            messages.append({"role": "system", "content": system})
        if self.config.history:
            for turn in (scope.session.get("turns") or [])[-MAX_TURNS:]:
                messages += _turn(turn)
        messages.append({"role": "user", "content": self.program.prompt.render(scope)})
        return messages


def _turn(turn: Mapping[str, Any]) -> list[Message]:
    return [
        {"role": "user", "content": _spoken(turn.get("input"))},
        {"role": "assistant", "content": _spoken(turn.get("output"))},
    ]


def _spoken(value: Any) -> str:
    """What was said in a turn: an object with one string in it is that string, anything else reads as text."""
    if isinstance(value, dict) and len(value) == 1:
        (only,) = value.values()
        if isinstance(only, str):
            return only
    return text_of(value)
