"""Forecasts as a table in 80 columns, or as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from orchwatch import units
from orchwatch.analysis.forecasts import MIN_OPERATIONS, MIN_STEPS
from orchwatch.recording.safe_text import safe
from orchwatch.reporters import columns, json_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.analysis.forecasts import Forecast, Point

HEADS = ("figure", "now", "then", "80 %", "95 %", "target", "crosses")
_NAME_COLUMNS = 40
_NS = 1_000_000_000


def render(
    found: Sequence[Forecast], words: str, file: TextIO, terminal: int = columns.WIDTH
) -> None:
    """Writes one a line, then what cannot be forecast, and what the columns mean.

    Args:
        found: At least one.
        words: A sentence about the past.
        file: Where to.
        terminal: How many columns it has.
    """
    room = min(terminal, columns.WIDTH)
    known = [one for one in found if one.points]
    if known:
        columns.named([HEADS, *map(row, known)], room, file, left=True)
        file.write("\n")
    sentences = [f"{safe(one.title, _NAME_COLUMNS)}: {one.why}." for one in found if one.why]
    if known:
        sentences.append(meaning(known))
    sentences.append(
        f"{words} At least {MIN_STEPS} steps must hold figures, of a latency"
        f" {MIN_OPERATIONS} operations each."
    )
    columns.sentences(sentences, file, room)


def meaning(known: Sequence[Forecast]) -> str:
    """What the columns mean."""
    ends = {units.age((one.points[-1].at_ns - one.past[-1][0]) / _NS) for one in known}
    return (
        "Latencies are 95th percentiles; now is the last step, then is"
        f" {' or '.join(sorted(ends))} later. The truth lies in the intervals as often as they say,"
        " if what made the past goes on. crosses: when the middle crosses the target (UTC), with ?"
        " when the 80 % interval does."
    )


def render_json(found: Sequence[Forecast], file: TextIO) -> None:
    """Writes one JSON object."""
    json_document.answer("forecast", {"forecasts": list(map(as_dict, found))}, file)


def as_dict(one: Forecast) -> dict[str, Any]:
    """Null where nothing is known; times in ISO 8601."""
    return {
        "id": one.id,
        "kind": one.kind,
        "unit": one.unit,
        "target": one.target,
        "step_s": one.step_s,
        "steps": len(one.past),
        "now": one.past[-1][1] if one.past else None,
        "season": one.season,
        "crosses": _iso(one.crosses_ns),
        "may_cross": _iso(one.may_cross_ns),
        "why": one.why,
        "points": [_point(point) for point in one.points],
    }


def _point(point: Point) -> dict[str, Any]:
    return {
        "at": json_document.moment(point.at_ns),
        "middle": point.middle,
        "low_80": point.low_80,
        "high_80": point.high_80,
        "low_95": point.low_95,
        "high_95": point.high_95,
    }


def _iso(time_ns: int | None) -> str | None:
    return None if time_ns is None else json_document.moment(time_ns)


def row(one: Forecast) -> tuple[str, ...]:
    """The cells of one that has points."""
    last = one.points[-1]
    return (
        safe(one.title, _NAME_COLUMNS),
        shown(one.past[-1][1], one.unit),
        shown(last.middle, one.unit),
        f"{shown(last.low_80, one.unit)}-{shown(last.high_80, one.unit)}",
        f"{shown(last.low_95, one.unit)}-{shown(last.high_95, one.unit)}",
        "-" if one.target is None else shown(one.target, one.unit),
        crossing(one),
    )


def shown(value: float, unit: str) -> str:
    """As a person reads it."""
    return units.duration(value) if unit == "s" else units.level(value, unit)


def crossing(one: Forecast) -> str:
    """When a target is crossed: `Dec 1 14:00`, with `?` where it only may be."""
    if one.target is None:
        return "-"
    if one.beyond:
        return "missed"
    if one.crosses_ns is not None:
        return _moment(one.crosses_ns)
    return "no" if one.may_cross_ns is None else _moment(one.may_cross_ns) + "?"


def _moment(time_ns: int) -> str:
    found = datetime.fromtimestamp(time_ns / _NS, UTC)
    return f"{found:%b} {found.day} {found:%H:%M}"
