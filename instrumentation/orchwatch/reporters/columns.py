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


# Where a name has less room beside the figures, these stand below it.
_LEAST_NAME = 16


def sentences(lines: Iterable[str], file: TextIO, room: int = WIDTH) -> None:
    """Writes each as a paragraph; names and options stay whole."""
    file.writelines(
        textwrap.fill(line, room, break_on_hyphens=False, break_long_words=False) + "\n"
        for line in lines
    )


def named(rows: Sequence[Sequence[str]], room: int, file: TextIO, *, left: bool = False) -> None:
    """Writes names and figures beside them, or where that has no room, below.

    Args:
        rows: Cells, already safe to show, the name first; the first row has the heads.
        room: How many columns there are.
        file: Where to.
        left: Whether the last column stands to the left.
    """
    sizes = [max(map(width, column)) for column in zip(*rows, strict=True)]
    beside = room - sum(size + 2 for size in sizes[1:])
    if beside < min(_LEAST_NAME, sizes[0]):
        stacked(rows[0], rows[1:], room, file)
        return
    names = min(sizes[0], beside)
    for name, *figures in rows:
        cells = [rjust(cell, size) for cell, size in zip(figures, sizes[1:], strict=True)]
        if left:
            cells[-1] = ljust(figures[-1], sizes[-1])
        start = ljust(name, names)
        if width(name) > names:
            # It stands on a line of its own: nothing is cut off, and all of it can be copied.
            start = f"{name}\n{'':{names}}"
        file.write("  ".join([start, *cells]).rstrip() + "\n")


def stacked(heads: Sequence[str], rows: Iterable[Sequence[str]], room: int, file: TextIO) -> None:
    """Writes what has no room side by side: each row's name, and below what is known of it.

    Args:
        heads: Of the columns, the first one that of the names.
        rows: Cells, already safe to show; what is absent is left out.
        room: How many columns there are.
        file: Where to.
    """
    for name, *cells in rows:
        lines = [name]
        for head, cell in zip(heads[1:], cells, strict=True):
            if cell in ("", units.ABSENT):
                continue
            piece = f"{head} {cell}".lstrip()
            if len(lines) == 1 or width(lines[-1]) + 2 + width(piece) > room:
                lines.append(f"  {piece}")
            else:
                lines[-1] += f"  {piece}"
        file.writelines(f"{line}\n" for line in lines)


def table(
    heads: Sequence[str],
    rows: Sequence[tuple[Sequence[str], str]],
    file: TextIO,
    *,
    colour: bool,
    room: int = WIDTH,
) -> None:
    """Writes a table; a name too long for its line stands on a line of its own.

    Where a terminal has no room for the columns, the cells of a row stand below its name.

    Args:
        heads: Of the columns.
        rows: Cells, already safe to show, and the verdict that the last one is coloured by.
        file: Where to.
        colour: Whether it is coloured.
        room: How many columns there are; more than 80 are not used.
    """
    cells = [heads, *(row for row, _ in rows)]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    others = sum(widths[1:])
    room = min(room, WIDTH)
    gap = 2 if widths[0] + others + 2 * len(widths[1:]) <= room else 1
    beside = room - others - gap * len(widths[1:])
    if beside < width(heads[0]) and room < WIDTH:
        stacked(heads, [row for row, _ in rows], room, file)
        return
    widths[0] = max(1, min(widths[0], beside))
    for (name, *values, last), verdict in [(heads, ""), *rows]:
        if width(name) > widths[0]:
            file.write(name + "\n")
            name = ""  # noqa: PLW2901 - it stands above
        line = ljust(name, widths[0])
        for value, size in zip(values, widths[1:-1], strict=True):
            line += " " * gap + rjust(value, size)
        code = COLOURS.get(verdict) if colour else None
        file.write(f"{line}{' ' * gap}" + (f"\x1b[{code}m{last}\x1b[0m\n" if code else f"{last}\n"))
