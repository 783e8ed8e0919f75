"""What models cost, by the price table of `genai-prices`."""

from typing import Any

import genai_prices

from libs.flows.export.runtime.values import read


def priced(answer: dict[str, Any], provider: str, model: str) -> dict[str, Any]:
    """A model's answer with its `cost_usd` in US dollars; 0 for a model that the table does not know."""
    usage = genai_prices.Usage(
        input_tokens=read(answer, "usage", "input_tokens"), output_tokens=read(answer, "usage", "output_tokens")
    )
    for provider_id in (provider, None):
        try:
            price = genai_prices.calc_price(usage, model_ref=model, provider_id=provider_id)
        except LookupError:
            continue
        return {**answer, "cost_usd": float(price.total_price)}
    return answer
