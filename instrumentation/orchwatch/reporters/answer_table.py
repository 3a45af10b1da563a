"""The answer to a question in SQL: as a table, as JSON, as CSV."""

from __future__ import annotations

import csv
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from math import isfinite, isnan
from typing import TYPE_CHECKING, Any, TextIO

from orchwatch import units
from orchwatch.recording.safe_text import ljust, rjust, safe, width
from orchwatch.reporters import json_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.store.published import Answer

_CELL_COLUMNS = 60
_MAX_ROWS = 1000


def render(answer: Answer, file: TextIO) -> None:
    """Writes one row a line, numbers to the right, and how many rows there are."""
    shown = answer.rows[:_MAX_ROWS]
    cells = [[safe(name, _CELL_COLUMNS) for name in answer.columns]]
    cells += [[_cell(value) for value in row] for row in shown]
    numeric = [
        all(isinstance(row[place], int | float | Decimal | None) for row in shown)
        for place in range(len(answer.columns))
    ]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        line = "  ".join(
            rjust(cell, room) if right else ljust(cell, room)
            for cell, room, right in zip(row, widths, numeric, strict=True)
        )
        file.write(line.rstrip() + "\n")
    left_out = len(answer.rows) - len(shown)
    more = f"; {left_out} more: --format csv or json, or LIMIT" if left_out else ""
    file.write(f"({units.counted(len(answer.rows), 'row')}{more})\n")


def render_json(answer: Answer, file: TextIO) -> None:
    """Writes an object: columns with DuckDB's types, and rows as lists."""
    columns = [
        {"name": name, "type": kind}
        for name, kind in zip(answer.columns, answer.types, strict=True)
    ]
    rows = [[_plain(value) for value in row] for row in answer.rows]
    json_document.answer("sql", {"columns": columns, "rows": rows}, file)


def render_csv(answer: Answer, file: TextIO) -> None:
    """Writes a line of names and one a row; null is empty."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows([_text(value) for value in row] for row in answer.rows)


_TOLD: dict[type, Callable[[Any], Any]] = {
    Decimal: float,
    datetime: lambda value: value.isoformat() + ("Z" if value.tzinfo is None else ""),
    date: lambda value: value.isoformat(),
    time: lambda value: value.isoformat(),
    timedelta: lambda value: value.total_seconds(),
}
WRITERS: dict[str, Callable[[Answer, TextIO], None]] = {
    "table": render,
    "json": render_json,
    "csv": render_csv,
}


def _cell(value: Any) -> str:
    return "-" if value is None else safe(_text(value), _CELL_COLUMNS)


def _text(value: Any) -> str:
    plain = _plain(value)
    if plain is None:
        return ""
    return plain if isinstance(plain, str) else json_document.dumps(plain)


def _plain(value: Any) -> Any:
    """As JSON has it; what it has no word for as text."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not isfinite(value):
        return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return next(
        (tell(value) for kind, tell in _TOLD.items() if isinstance(value, kind)), str(value)
    )
