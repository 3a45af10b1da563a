"""Two traces, or two sets of them, by phase: a table in 80 columns, or JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from orchwatch import units
from orchwatch.recording.safe_text import ljust, rjust, safe, width
from orchwatch.reporters import json_document
from orchwatch.reporters.critical_path_report import what
from orchwatch.reporters.flame_page import signed
from orchwatch.units import counted

if TYPE_CHECKING:
    from orchwatch.analysis.trace_diff import Part, Phase, Side, TraceDiff

_WIDTH = 80
_NS = 1_000_000_000
_MOST_ROWS = 30
_HEADS = ("phase", "before", "now", "difference", "spans", "")


def render(titles: tuple[str, str], diff: TraceDiff, file: TextIO) -> None:
    """Writes what is waited for longer or shorter, the largest difference first.

    Args:
        titles: What both sides are, the one before first.
        diff: The comparison.
        file: Where to write.
    """
    for head, title, side in zip(("before", "now"), titles, (diff.before, diff.now), strict=True):
        each = f"{units.duration(side.path_ns / _NS)}{' each' if side.traces > 1 else ''}"
        file.write(f"{head + ':':8}{safe(title)}; {counted(side.traces, 'trace')}, {each}\n")
    file.write(f"{signed(diff.now.path_ns - diff.before.path_ns)} in all\n\n")
    changed = [phase for phase in diff.phases if phase.grown_ns or phase.grown_own_ns]
    if not changed:
        file.write("No phase differs.\n")
        return
    shown = changed[:_MOST_ROWS]
    rows = [_HEADS, *map(_row, shown)]
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    room = min(widths[0], _WIDTH - sum(size + 2 for size in widths[1:]))
    for name, *figures, note in rows:
        cells = [rjust(cell, size) for cell, size in zip(figures, widths[1:-1], strict=True)]
        # A name that is too long stands on a line of its own: nothing is cut off.
        start = ljust(name, room) if width(name) <= room else f"{name}\n{'':{room}}"
        file.write("  ".join([start, *cells, note]).rstrip() + "\n")
    left = len(diff.phases) - len(shown)
    if left:
        file.write(f"… and {counted(left, 'phase')} of no or a smaller difference.\n")
    file.write("\nHow long each is waited for, per trace; all differences add up to that above.\n")


def render_json(diff: TraceDiff, file: TextIO) -> None:
    """Writes one JSON object: both sides, and each phase on both."""
    document: dict[str, Any] = {
        "before": _side(diff.before),
        "now": _side(diff.now),
        "phases": [
            {
                "kind": phase.kind,
                "name": phase.name,
                "agent": phase.agent,
                **_part("before", phase.before),
                **_part("now", phase.now),
            }
            for phase in diff.phases
        ],
    }
    json_document.answer("trace diff", document, file)


def _side(side: Side) -> dict[str, Any]:
    return {"traces": side.traces, "spans": side.spans, "path_s": side.path_ns / _NS}


def _part(when: str, part: Part) -> dict[str, float]:
    return {
        f"{when}_path_s": part.path_ns / _NS,
        f"{when}_own_s": part.own_ns / _NS,
        f"{when}_spans": part.count,
    }


def _row(phase: Phase) -> tuple[str, ...]:
    before, now = phase.before, phase.now
    note = "new" if not before.count else "gone" if not now.count else ""
    return (
        what(phase.kind, phase.name, phase.agent),
        units.duration(before.path_ns / _NS) if before.count else units.ABSENT,
        units.duration(now.path_ns / _NS) if now.count else units.ABSENT,
        signed(phase.grown_ns),
        f"{units.three_digits(before.count)} → {units.three_digits(now.count)}",
        note,
    )
