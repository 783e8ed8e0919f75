"""The built-in model: says what it was told."""

from typing import Any


def ask_echo(model: str, system: str, prompt: str) -> dict[str, Any]:
    """The prompt again. Tokens are words; nothing costs anything."""
    return {
        "text": prompt,
        "reasoning": None,
        "model": f"echo/{model}",
        "usage": {"input_tokens": len(system.split()) + len(prompt.split()), "output_tokens": len(prompt.split())},
        "cost_usd": 0.0,
    }
