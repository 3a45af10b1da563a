"""Tokens of Copilot CLI's requests: input includes the cache's, output includes reasoning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.agents.sessions.facts import ApiUsage
from orchwatch.agents.sessions.fields import count, mapping, word

if TYPE_CHECKING:
    from collections.abc import Mapping

_KINDS = ("input", "output", "cache_read", "cache_write", "reasoning")


def nothing() -> dict[str, int]:
    """No tokens."""
    return dict.fromkeys(_KINDS, 0)


def of_record(about: Mapping[str, Any]) -> dict[str, int] | None:
    """The counts as the events have them; None where there are none."""
    if not {"inputTokens", "outputTokens"} <= about.keys():
        return None
    return {kind: count(about.get(f"{_camel(kind)}Tokens")) for kind in _KINDS}


def of_row(row: Mapping[str, Any]) -> dict[str, int]:
    """The same of a row of the table."""
    return {kind: count(row.get(f"{kind}_tokens")) for kind in _KINDS}


def of_totals(metrics: Mapping[str, Any]) -> tuple[dict[str, int], str]:
    """The counts of all models, and which of these has most."""
    each = {
        word(model): of_record(mapping(mapping(about).get("usage"))) or nothing()
        for model, about in metrics.items()
    }
    totals = nothing()
    for found in each.values():
        add(totals, found)
    return totals, max(each, key=lambda model: each[model]["input"], default="")


def add(totals: dict[str, int], found: Mapping[str, int]) -> None:
    """Adds counts to others."""
    for kind in _KINDS:
        totals[kind] += found[kind]


def more(totals: Mapping[str, int], used: Mapping[str, int]) -> dict[str, int] | None:
    """By how much totals are more; None where they are not."""
    grown = {kind: max(totals[kind] - used[kind], 0) for kind in _KINDS}
    return grown if any(grown.values()) else None


def fact(
    own: str, model: str, found: Mapping[str, int], common: dict[str, Any], *, is_fresh: bool
) -> ApiUsage:
    """What a request used.

    Args:
        own: Its id.
        model: Which model answered.
        found: The counts.
        common: The members of the facts of its record.
        is_fresh: See `ApiUsage`.
    """
    return ApiUsage(
        **common,
        message_id=own,
        model=model,
        input_tokens=max(found["input"] - found["cache_read"] - found["cache_write"], 0),
        output_tokens=found["output"],
        cache_read_tokens=found["cache_read"],
        cache_creation_tokens=found["cache_write"],
        reasoning_tokens=found["reasoning"],
        fresh=is_fresh,
    )


def _camel(kind: str) -> str:
    first, *rest = kind.split("_")
    return first + "".join(map(str.capitalize, rest))
