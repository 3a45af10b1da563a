"""A snapshot as a table in 80 columns."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, TextIO

from orchwatch import units
from orchwatch.recording.safe_text import ljust, quoted, rjust, safe, width
from orchwatch.reporters import phase_list
from orchwatch.reporters.columns import stacked
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchwatch.analysis.snapshot import LevelReading, OperationReading, Snapshot
    from orchwatch.store.own_metrics import Metric
    from orchwatch.targets.target_table import Status

WIDTH = 80

_OPERATIONS = ("operation", "count", "errors", "p50", "p95", "p99", "target", "on-time", "status")
_METRICS = ("recorded by programs", "value", "kind")
_UNIT_COLUMNS = 20
_LEVELS = ("level", "value", "target", "out of", "status")
# The most operations without a target that are shown, and levels.
_MAX_ROWS = 100
# The most operations that a note lists.
_MAX_LISTED = 5
# A window below this is shown to the second.
_SHORT = timedelta(hours=1)
_COLOURS: dict[Status, str] = {"ok": "32", "warn": "33", "miss": "31", "unknown": "2"}


def render(snapshot: Snapshot, file: TextIO, *, colour: bool, columns: int = WIDTH) -> None:
    """Writes operations, then the levels that were measured, then what the figures cover.

    `on-time` is the share of operations that took at most the target.

    Args:
        snapshot: What to show.
        file: Where to write.
        colour: Whether a status is coloured, and errors that are too many; both are spelt out in
            any case.
        columns: How many the terminal has.
    """
    room = min(columns, WIDTH)
    shown = _most_frequent(snapshot.operations)
    operations = [
        (_operation(reading), {"status": reading.status, "errors": _error_mark(reading)})
        for reading in shown
    ]
    _table(_OPERATIONS, operations, file, colour=colour, room=room)
    if len(shown) < len(snapshot.operations):
        file.write(
            f"{len(snapshot.operations) - len(shown)} more without a target ran less often;"
            " --operation NAME shows one,\n--format json all.\n"
        )
    measured = [reading for reading in snapshot.levels if reading.value is not None]
    if measured:
        file.write("\n")
        levels = [(_level(reading), {"status": reading.status}) for reading in measured]
        _first(_LEVELS, levels, file, colour=colour, room=room)
    if snapshot.phases:
        file.write("\n")
        turns = snapshot.phases.turns
        heads = (f"time of the latest {counted(turns, 'turn')}", "", "share")
        _table(
            heads,
            [(row, {}) for row in phase_list.rows(snapshot.phases)],
            file,
            colour=colour,
            room=room,
        )
    if snapshot.metrics:
        file.write("\n")
        _first(
            _METRICS,
            [(_metric(one), {}) for one in snapshot.metrics],
            file,
            colour=colour,
            room=room,
        )
    file.write("\n")
    file.writelines(
        # Names and options stay whole.
        textwrap.fill(note, room, break_on_hyphens=False, break_long_words=False) + "\n"
        for note in _notes(snapshot)
    )


def _first(
    heads: Sequence[str],
    rows: Sequence[tuple[Sequence[str], Mapping[str, Status | None]]],
    file: TextIO,
    *,
    colour: bool,
    room: int,
) -> None:
    """As many rows as a person reads, and how many there are besides."""
    _table(heads, rows[:_MAX_ROWS], file, colour=colour, room=room)
    if len(rows) > _MAX_ROWS:
        file.write(f"{len(rows) - _MAX_ROWS} more; --format json shows all.\n")


def _most_frequent(readings: Sequence[OperationReading]) -> list[OperationReading]:
    """All with a target, and of the others as many as a person reads; in the same order."""
    others = sorted(
        (reading for reading in readings if reading.target_s is None),
        key=lambda reading: -reading.count,
    )
    left_out = {reading.id for reading in others[_MAX_ROWS:]}
    return [reading for reading in readings if reading.id not in left_out]


def _operation(reading: OperationReading) -> tuple[str, ...]:
    return (
        safe(reading.id),
        str(reading.count),
        str(reading.errors),
        units.duration(reading.p50_s),
        units.duration(reading.p95_s),
        units.duration(reading.p99_s),
        units.duration(reading.target_s),
        units.share(reading.under_target),
        # Measured, but nothing to hold it against: that is not the "unknown" of no data.
        units.ABSENT if reading.target_s is None else reading.status,
    )


def _error_mark(reading: OperationReading) -> Status | None:
    """What errors are coloured by: few enough are no reason to look at them."""
    return None if reading.error_status in ("ok", "unknown") else reading.error_status


def _level(reading: LevelReading) -> tuple[str, ...]:
    sign = "<=" if reading.direction == "below" else ">="
    return (
        safe(reading.title),
        units.level(reading.value, reading.unit),
        f"{sign} {units.level(reading.target, reading.unit)}",
        # One failure of three says less than ten of thirty: a verdict does not stand alone.
        reading.sample.words if reading.sample else "",
        reading.status,
    )


def _metric(metric: Metric) -> tuple[str, ...]:
    lowest, highest = (_amount(choice(metric.values), metric.unit) for choice in (min, max))
    value = lowest if lowest == highest else f"{lowest} to {highest}"
    return (safe(metric.name), value, metric.kind)


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        return units.duration(value)
    if unit in ("1", "By"):
        return units.level(value, unit)
    return f"{units.three_digits(value)} {safe(unit.strip('{}'), _UNIT_COLUMNS)}".rstrip()


def _notes(snapshot: Snapshot) -> list[str]:
    taken = f"{snapshot.as_of:%Y-%m-%d %H:%M:%S} UTC"
    if snapshot.since is None:
        covered = f"All operations until {taken}."
    else:
        to = "%H:%M:%S" if snapshot.as_of - snapshot.since < _SHORT else "%H:%M"
        since = snapshot.since.strftime(f"%Y-%m-%d {to}")
        covered = f"Operations that ended since {since} until {taken}."
    if snapshot.outside:
        apart = [
            f"{count} ended {when}"
            for count, when in ((snapshot.earlier, "earlier"), (snapshot.later, "later"))
            if count
        ]
        covered += f" {' and '.join(apart)}: orchwatch current --since all."
    if snapshot.ahead:
        covered += f" {snapshot.ahead} dated in the future: see orchwatch doctor."
    notes = [*_about_failed(snapshot), *_about_slow(snapshot), covered]
    notes += _about_elsewhere(snapshot)
    unreadable = sum(snapshot.unreadable.values())
    if unreadable:
        notes.append(f"Skipped: {counted(unreadable, 'unreadable line')}; see orchwatch doctor.")
    return notes


def _about_elsewhere(snapshot: Snapshot) -> Iterator[str]:
    """Which services are not among the figures, and where they are."""
    services = []
    for one in snapshot.elsewhere:
        ended = "" if one["running"] else f", ended {_when(one['seen_ns'])}"
        services.append(f"{safe(one['service'])} ({safe(one['endpoint'])}{ended})")
    if services:
        yield (
            f"Not among these, as they went out over OTLP: {_listed(services)}. Their figures are"
            " on that server: Prometheus and Grafana show them."
        )


def _when(time_ns: int) -> str:
    return f"{datetime.fromtimestamp(time_ns / 1e9, UTC):%Y-%m-%d %H:%M} UTC"


def _about_failed(snapshot: Snapshot) -> Iterator[str]:
    """What failed, the largest shares first."""
    failed = sorted(
        (reading for reading in snapshot.operations if reading.errors),
        key=lambda reading: -reading.errors / reading.count,
    )
    if failed:
        shares = [f"{safe(reading.id)} {reading.errors} of {reading.count}" for reading in failed]
        yield f"Failed: {_listed(shares)} (orchwatch trace --failed shows the latest)."


def _about_slow(snapshot: Snapshot) -> Iterator[str]:
    """How to get to the trace that shows why, the furthest from their target first."""
    slow = [
        (reading.p95_s / reading.target_s, reading.id)
        for reading in snapshot.operations
        if reading.status in ("warn", "miss") and reading.p95_s and reading.target_s
    ]
    if slow:
        first, *others = [quoted(name) for _, name in sorted(slow, reverse=True)]
        also = f"; likewise for {_listed(others)}" if others else ""
        yield f"Slowest: orchwatch trace --slowest {first}{also}."


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _MAX_LISTED} more" if len(texts) > _MAX_LISTED else ""
    return ", ".join(texts[:_MAX_LISTED]) + more


def _table(
    heads: Sequence[str],
    rows: Sequence[tuple[Sequence[str], Mapping[str, Status | None]]],
    file: TextIO,
    *,
    colour: bool,
    room: int,
) -> None:
    """Names to the left, figures to the right, the status last.

    A name too long for its line stands on a line of its own: nothing is ever cut off. Each row
    comes with the colours of its cells, by their heads.
    """
    cells = [heads, *(row for row, _ in rows)]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    # The status stands last and needs no padding.
    figures = sum(widths[1:])
    gap = 2 if widths[0] + figures + 2 * len(widths[1:]) <= room else 1
    first = room - figures - gap * len(widths[1:])
    if first < width(heads[0]) and room < WIDTH:
        stacked(heads, [row for row, _ in rows], room, file)
        return
    widths[0] = min(widths[0], first)
    for row, marks in [(heads, {}), *rows]:
        name, *values, state = row
        if width(name) > widths[0]:
            file.write(name + "\n")
            name = ""
        line = ljust(name, widths[0])
        for head, value, size in zip(heads[1:-1], values, widths[1:-1], strict=True):
            line += " " * gap + _coloured(rjust(value, size), colour and marks.get(head))
        file.write(f"{line}{' ' * gap}{_coloured(state, colour and marks.get(heads[-1]))}\n")


def _coloured(text: str, status: Status | Literal[False] | None) -> str:
    if not status:
        return text
    word = text.lstrip()
    return f"{text[: len(text) - len(word)]}\x1b[{_COLOURS[status]}m{word}\x1b[0m"
