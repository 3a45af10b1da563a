"""Tables of figures in 80 columns: names to the left, figures to the right, the verdict last."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, TextIO

from orchwatch import units
from orchwatch.recording.safe_text import ljust, rjust, width

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WIDTH = 80
COLOURS: Mapping[str, str] = {
    "ok": "32",
    "warn": "33",
    "miss": "31",
    "unknown": "2",
    "significant_improvement": "32",
    "improvement": "32",
    "regression": "31",
}


def sentences(lines: Iterable[str], file: TextIO) -> None:
    """Writes each as a paragraph; names and options stay whole."""
    file.writelines(
        textwrap.fill(line, WIDTH, break_on_hyphens=False, break_long_words=False) + "\n"
        for line in lines
    )


def stacked(heads: Sequence[str], rows: Iterable[Sequence[str]], room: int, file: TextIO) -> None:
    """Writes what has no room side by side: each row's name, and below what is known of it.

    Args:
        heads: Of the columns, the first one that of the names.
        rows: Cells, already safe to show; what is absent is left out.
        room: How many columns there are.
        file: Where to.
    """
    for name, *cells in rows:
        line = name
        for head, cell in zip(heads[1:], cells, strict=True):
            if cell in ("", units.ABSENT):
                continue
            piece = f"{head} {cell}"
            if line == name or width(line) + 2 + width(piece) > room:
                file.write(line + "\n")
                line = f"  {piece}"
            else:
                line += f"  {piece}"
        file.write(line + "\n")


def table(
    heads: Sequence[str],
    rows: Sequence[tuple[Sequence[str], str]],
    file: TextIO,
    *,
    colour: bool,
) -> None:
    """Writes a table; a name too long for its line stands on a line of its own.

    Args:
        heads: Of the columns.
        rows: Cells, already safe to show, and the verdict that the last one is coloured by.
        file: Where to.
        colour: Whether it is coloured.
    """
    cells = [heads, *(row for row, _ in rows)]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    others = sum(widths[1:])
    gap = 2 if widths[0] + others + 2 * len(widths[1:]) <= WIDTH else 1
    widths[0] = max(1, min(widths[0], WIDTH - others - gap * len(widths[1:])))
    for (name, *values, last), verdict in [(heads, ""), *rows]:
        if width(name) > widths[0]:
            file.write(name + "\n")
            name = ""  # noqa: PLW2901 - it stands above
        line = ljust(name, widths[0])
        for value, room in zip(values, widths[1:-1], strict=True):
            line += " " * gap + rjust(value, room)
        code = COLOURS.get(verdict) if colour else None
        file.write(f"{line}{' ' * gap}" + (f"\x1b[{code}m{last}\x1b[0m\n" if code else f"{last}\n"))
