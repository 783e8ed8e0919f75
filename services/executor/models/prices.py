"""What a model call costs in US dollars, by the price table of `genai-prices` (kept up by its maintainers).

The table's package is large, so it is imported when the first remote model answers, and in a worker thread.
"""

import asyncio


async def cost_usd(provider: str, model: str, input_tokens: int, output_tokens: int) -> float:
    """The price of a call; 0 for a model that the table does not know."""
    if not (input_tokens or output_tokens):
        return 0.0
    return await asyncio.to_thread(_price, provider, model, input_tokens, output_tokens)


def _price(provider: str, model: str, input_tokens: int, output_tokens: int) -> float:
    import genai_prices  # imported late: it takes longer to load than this whole service

    usage = genai_prices.Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    for provider_id in (provider, None):
        try:
            price = genai_prices.calc_price(usage, model_ref=model, provider_id=provider_id)
        except LookupError:
            continue
        return float(price.total_price)
    return 0.0
