"""Tokens and their cost as a table in 80 columns, or as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, TextIO

from orchwatch import units
from orchwatch.recording.safe_text import safe
from orchwatch.reporters import json_document
from orchwatch.units import counted

if TYPE_CHECKING:
    from orchwatch.analysis.token_use import Found, Use

_WIDTH = 80
_LEAST = 8
_MAX_NAMED = 5
_CENT = 0.01
# What a span names no value for: an agent's own turns name no agent.
_NAMELESS = {"agent": "main", "session": "no session", "service": "no service"}
HEADS = ("requests", "input", "cached", "written", "output", "cost")
NOTE = (
    "input: all of it; cached: of that, read from the cache; written: of that, written to it."
    " output: all of it, reasoning too."
)


def render(found: Found, by: str, covered: str, file: TextIO, columns: int = _WIDTH) -> None:
    """Writes one a line, the sum where there are several, then what they cover.

    Args:
        found: At least one use.
        by: What was added up by.
        covered: A sentence about the window.
        file: Where to write.
        columns: How many the terminal has.
    """
    import textwrap  # noqa: PLC0415 - slow, and JSON does without

    from orchwatch.reporters.columns import named  # noqa: PLC0415 - likewise

    heads: tuple[str, ...] = (by, *HEADS)
    rows = [_row(use, safe(use.key or _NAMELESS.get(by, "unknown"))) for use in found.uses]
    if len(rows) > 1:
        rows.append(_row(found.total, "all"))
    if found.prices is None:
        heads, rows = heads[:-1], [row[:-1] for row in rows]
    named([heads, *rows], min(_WIDTH, columns), file)
    file.write("\n")
    file.writelines(
        textwrap.fill(line, min(_WIDTH, columns), break_on_hyphens=False) + "\n"
        for line in (covered, NOTE, *_of_prices(found))
    )


def render_json(found: Found, by: str, file: TextIO) -> None:
    """Writes one JSON object: the uses, the total, and what could not be priced."""
    document = {
        "by": by,
        "tokens": [asdict(use) for use in found.uses],
        "total": asdict(found.total),
        "unpriced_models": found.unpriced,
        "prices": found.prices,
    }
    json_document.answer("tokens", document, file)


def _row(use: Use, name: str) -> tuple[str, ...]:
    return (
        name,
        units.amount(use.requests),
        units.amount(use.input_tokens),
        units.amount(use.cache_read_tokens),
        units.amount(use.cache_creation_tokens),
        units.amount(use.output_tokens),
        _usd(use),
    )


def _usd(use: Use) -> str:
    """Of what the list has; a plus where there was more, in models that it does not have."""
    if use.cost_usd is None:
        return "unknown" if use.unpriced_tokens else units.ABSENT
    amount = f"<{_CENT}" if 0 < use.cost_usd < _CENT else f"{use.cost_usd:.2f}"
    return f"{amount} USD" + ("+" if use.unpriced_tokens else "")


def _of_prices(found: Found) -> list[str]:
    if found.prices is None:
        return [f"{(found.why or '')[:1].upper()}{(found.why or '')[1:]}."]
    lines = [
        f"Cost: by the public prices of the day, as {found.prices} lists them; not what was billed."
    ]
    if found.unpriced:
        named = ", ".join(safe(model) for model in found.unpriced[:_MAX_NAMED])
        more = len(found.unpriced) - _MAX_NAMED
        lines.append(
            f"Not in that list: {named}{f' and {more} more' if more > 0 else ''};"
            f" {counted(found.total.unpriced_tokens, 'token')} without a price."
        )
    return lines
