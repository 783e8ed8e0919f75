"""Models by name, `provider/model`. A provider is one file here and one line in `providers`."""

from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Protocol

from libs.egress import Egress
from libs.flows.effects import ModelAnswer, ModelCall
from libs.runtime.failures import Failure, Terminal
from libs.runtime.providers import Endpoint
from libs.runtime.tracing import Attributes, current, span
from services.executor.metrics import COST, MODEL_FAILURES, MODEL_SECONDS, TOKENS
from services.executor.models.echo import Echo
from services.executor.models.openai import OpenAI

OnDelta = Callable[[str, str], Awaitable[None]]
"""Called with more text and more reasoning as they come; either may be empty."""


class Provider(Protocol):
    """Answers calls for the models of one provider; `model` comes without the provider's name."""

    async def complete(self, model: str, call: ModelCall, idempotency_key: str, on_delta: OnDelta) -> ModelAnswer:
        """The whole answer. Failures as `libs.runtime.failures` has them."""


def providers(egress: Egress, endpoints: Mapping[str, Endpoint]) -> dict[str, Provider]:
    """Every provider by name: `echo`, and one that speaks the OpenAI protocol for each configured endpoint."""
    remote: dict[str, Provider] = {name: OpenAI(egress, name, endpoint) for name, endpoint in endpoints.items()}
    return {"echo": Echo(), **remote}


class Models:
    """Finds the provider of a call."""

    def __init__(self, known: Mapping[str, Provider]) -> None:
        self._known = known

    async def complete(self, call: ModelCall, idempotency_key: str, on_delta: OnDelta) -> ModelAnswer:
        """The answer of the model that the call names. Terminal when nobody provides it."""
        name, _, model = call.model.partition("/")
        provider = self._known.get(name)
        if provider is None or not model:
            known = ", ".join(sorted(self._known))
            raise Terminal("node_failed", f"no provider `{name}` is configured (known: {known})")
        began = perf_counter()
        # By the semantic conventions for generative AI; of what is said to a model and by it, nothing.
        with span(f"chat {model}", current(), "CLIENT") as traced:
            try:
                answer = await provider.complete(model, call, idempotency_key, on_delta)
            except Failure:
                MODEL_FAILURES.labels(name).inc()
                raise
            finally:
                if traced is not None:
                    traced.set(_asked(name, model, call))
            if traced is not None:
                traced.set(_answered(name, answer))
        MODEL_SECONDS.at(name).observe(perf_counter() - began)
        TOKENS.labels(name, "input").inc(answer.input_tokens)
        TOKENS.labels(name, "output").inc(answer.output_tokens)
        COST.labels(name).inc(answer.cost_usd)
        return answer


def _asked(provider: str, model: str, call: ModelCall) -> Attributes:
    told: dict[str, str | int | float] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
    }
    if call.temperature is not None:
        told["gen_ai.request.temperature"] = call.temperature
    if call.max_tokens is not None:
        told["gen_ai.request.max_tokens"] = call.max_tokens
    return told


def _answered(provider: str, answer: ModelAnswer) -> Attributes:
    return {
        "gen_ai.response.model": answer.model.removeprefix(f"{provider}/"),
        "gen_ai.usage.input_tokens": answer.input_tokens,
        "gen_ai.usage.output_tokens": answer.output_tokens,
    }
