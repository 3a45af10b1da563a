"""A snapshot as a table in 80 columns."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, TextIO

from orchwatch.reporters import units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.monitor.snapshot import LevelReading, OperationReading, Snapshot
    from orchwatch.targets import Status

WIDTH = 80

_OPERATIONS = ("operation", "count", "errors", "p50", "p95", "p99", "under", "target", "status")
_LEVELS = ("level", "value", "target", "status")
_COLOURS: dict[Status, str] = {"ok": "32", "warn": "33", "miss": "31", "unknown": "2"}


def render(snapshot: Snapshot, file: TextIO, *, colour: bool) -> None:
    """Writes operations, then the levels that were measured, then what the figures cover.

    `under` is the share of operations that took at most the target.

    Args:
        snapshot: What to show.
        file: Where to write.
        colour: Whether a status is coloured; it is spelt out in any case.
    """
    operations = [(_operation(reading), reading.status) for reading in snapshot.operations]
    _table(_OPERATIONS, operations, file, colour=colour)
    measured = [reading for reading in snapshot.levels if reading.value is not None]
    if measured:
        file.write("\n")
        levels = [(_level(reading), reading.status) for reading in measured]
        _table(_LEVELS, levels, file, colour=colour)
    file.write("\n")
    file.writelines(textwrap.fill(note, WIDTH) + "\n" for note in _notes(snapshot))


def _operation(reading: OperationReading) -> tuple[str, ...]:
    return (
        reading.id,
        str(reading.count),
        str(reading.errors),
        units.duration(reading.p50_s),
        units.duration(reading.p95_s),
        units.duration(reading.p99_s),
        units.share(reading.under_target),
        units.duration(reading.target_s),
        # Measured, but nothing to hold it against: that is not the "unknown" of no data.
        units.ABSENT if reading.target_s is None else reading.status,
    )


def _level(reading: LevelReading) -> tuple[str, ...]:
    sign = "<=" if reading.direction == "below" else ">="
    return (
        reading.title,
        units.level(reading.value, reading.unit),
        f"{sign} {units.level(reading.target, reading.unit)}",
        reading.status,
    )


def _notes(snapshot: Snapshot) -> list[str]:
    taken = f"{snapshot.as_of:%Y-%m-%d %H:%M:%S} UTC"
    if snapshot.since is None:
        covered = f"All operations until {taken}."
    else:
        covered = f"Operations that ended since {snapshot.since:%Y-%m-%d %H:%M} until {taken}."
    if snapshot.earlier:
        covered += f" {snapshot.earlier} earlier ones are not shown (--since all shows them)."
    notes = [covered]
    unreadable = sum(snapshot.unreadable.values())
    if unreadable:
        notes.append(f"{unreadable} unreadable lines were skipped; see orchwatch doctor.")
    return notes


def _table(
    heads: Sequence[str],
    rows: Sequence[tuple[Sequence[str], Status]],
    file: TextIO,
    *,
    colour: bool,
) -> None:
    """Names to the left, figures to the right, the status last.

    A name too long for its line stands on a line of its own: nothing is ever cut off.
    """
    cells = [heads, *(row for row, _ in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    # The status stands last and needs no padding.
    figures = sum(widths[1:])
    gap = 2 if widths[0] + figures + 2 * len(widths[1:]) <= WIDTH else 1
    widths[0] = min(widths[0], WIDTH - figures - gap * len(widths[1:]))
    for row, status in [(heads, None), *rows]:
        name, *values, state = row
        if len(name) > widths[0]:
            file.write(name + "\n")
            name = ""
        line = name.ljust(widths[0])
        for value, width in zip(values, widths[1:-1], strict=True):
            line += " " * gap + value.rjust(width)
        if colour and status is not None:
            state = f"\x1b[{_COLOURS[status]}m{state}\x1b[0m"
        file.write(f"{line}{' ' * gap}{state}\n")
