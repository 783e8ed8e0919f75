"""The built-in model: says what it was told, word by word, so that everything works without a network."""

import re
from collections.abc import Awaitable, Callable

from libs.flows.effects import ModelAnswer, ModelCall

_WORD = re.compile(r"\S+\s*|\s+")


class Echo:
    """Answers with the last user message. Tokens are words; nothing costs anything."""

    async def complete(
        self, model: str, call: ModelCall, idempotency_key: str, on_delta: Callable[[str, str], Awaitable[None]]
    ) -> ModelAnswer:
        """The prompt again, one delta a word when the call streams."""
        prompt = next((m["content"] for m in reversed(call.messages) if m["role"] == "user"), "")
        words = _WORD.findall(prompt)
        if call.stream:
            for word in words:
                await on_delta(word, "")
        return ModelAnswer(
            text=prompt,
            reasoning=None,
            model=f"echo/{model}",
            input_tokens=sum(len(m["content"].split()) for m in call.messages),
            output_tokens=len(prompt.split()),
            cost_usd=0.0,
        )
