"""What tokens cost by a public price list.

Needs `genai-prices`, which is an extra: it holds the list, so that nothing is asked of a network.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

from orchwatch.errors import MissingExtraError

try:
    import genai_prices
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "costs need a price list; install it with: pip install 'orchwatch[prices]'"
    ) from error

if TYPE_CHECKING:
    from decimal import Decimal

_PACKAGE = "genai-prices"
# `gen_ai.provider.name` of the conventions, where the list has another name.
_PROVIDERS = {
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "x_ai": "x-ai",
}
_DAY_S = 86_400


def source() -> str:
    """Which list it is: the library and its version, which names the day's prices."""
    return f"{_PACKAGE} {metadata.version(_PACKAGE)}"


def cost_usd(
    model: str,
    provider: str,
    day: int,
    *,
    input_tokens: Decimal,
    cache_read_tokens: Decimal,
    cache_creation_tokens: Decimal,
    output_tokens: Decimal,
) -> float | None:
    """What one request costs in US dollars; None where the list does not have the model.

    Args:
        model: As the provider names it.
        provider: `gen_ai.provider.name`; empty where unknown.
        day: Days since 1970, as prices change.
        input_tokens: All, the cached ones too; at least as many as those are.
        cache_read_tokens: How many of them came from the cache.
        cache_creation_tokens: How many of them went to the cache.
        output_tokens: All, reasoning too.
    """
    found = _listed(model, provider, day)
    if not found:
        return None
    usage = genai_prices.Usage(
        input_tokens=input_tokens,
        cache_read_tokens=cache_read_tokens,
        cache_write_tokens=cache_creation_tokens,
        output_tokens=output_tokens,
    )
    return float(_price(usage, model, found[0], day).total_price)


@cache
def _listed(model: str, provider: str, day: int) -> tuple[str | None] | None:
    """Under which provider the list has the model; None where it has it under none.

    The model alone where the provider is unknown to the list: a gateway's, say.
    """
    for name in (_PROVIDERS.get(provider, provider), None):
        with suppress(LookupError):
            if name != "":
                _price(genai_prices.Usage(input_tokens=1), model, name, day)
                return (name,)
    return None


def _price(
    usage: genai_prices.Usage, model: str, provider: str | None, day: int
) -> genai_prices.types.PriceCalculation:
    return genai_prices.calc_price(
        usage,
        model,
        provider_id=provider,
        genai_request_timestamp=datetime.fromtimestamp(day * _DAY_S, UTC),
    )
