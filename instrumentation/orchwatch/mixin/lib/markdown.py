"""Markdown, as far as generated pages need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# A bar within a cell.
_BAR = r"\|"


def table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """The lines of a table."""
    return [_line(cells) for cells in (header, ("---",) * len(header), *rows)]


def _line(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |"
