"""A flame graph in a terminal of 80 columns, or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TextIO

from orchwatch import units
from orchwatch.recording.safe_text import safe
from orchwatch.reporters import columns, json_document
from orchwatch.reporters.flame_page import signed
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchwatch.analysis.flame import Flame, Frame
    from orchwatch.analysis.flame_diff import Change, FlameDiff

_NS = 1_000_000_000
_BAR = 12
_FULL, _EMPTY = "█", "░"
_MAX_ROWS = 60
_LEAST_SHARE = 0.002
_NAME_COLUMNS = 60
_NOTES = (
    "total: own times of all below, too. own: while nothing that it called ran.",
    "--format html, folded, speedscope and chrome have every frame.",
)
_HEADS = ("call path", "", "total", "own", "spans")
_DIFF_HEADS = ("call path", "now", "before", "difference", "spans")


def summary(flame: Flame) -> str:
    """What it covers, and how the own times compare with the time in which anything ran."""
    text = f"{counted(flame.spans, 'span')} of {counted(flame.traces, 'trace')}"
    text += f", which ran for {units.duration(flame.ran_ns / _NS)}"
    if flame.ran_ns and flame.own_ns != flame.ran_ns:
        text += (
            f"; own times add up to {units.duration(flame.own_ns / _NS)}:"
            f" {units.three_digits(flame.own_ns / flame.ran_ns)} at work at a time"
        )
    return text


def diff_summary(diff: FlameDiff) -> str:
    """What is compared."""
    now, before = diff.now, diff.before
    return (
        f"{counted(now.traces, 'trace')}, {units.duration(_a_trace(now))} of own time each;"
        f" before {counted(before.traces, 'trace')}, {units.duration(_a_trace(before))} each"
    )


def _a_trace(flame: Flame) -> float:
    return flame.own_ns / max(flame.traces, 1) / _NS


def render(title: str, flame: Flame, file: TextIO, terminal: int = columns.WIDTH) -> None:
    """Writes a line a frame: callers first, beside each other the largest first."""
    whole, room = flame.own_ns, min(terminal, columns.WIDTH)
    columns.sentences([safe(title), summary(flame)], file, room)
    file.write("\n")
    if not whole:
        file.write("Nothing took any time.\n")
        return

    def row(place: int) -> tuple[str, ...]:
        frame = flame.frames[place]
        part = frame.total_ns / whole
        full = min(round(part * _BAR), _BAR)
        return (
            *(_FULL * full + _EMPTY * (_BAR - full), units.duration(frame.total_ns / _NS)),
            *(units.duration(frame.self_ns / _NS), str(frame.count)),
        )

    def share(place: int) -> float:
        return flame.frames[place].total_ns / whole

    _write(flame.frames, _HEADS, row, share, file, room=room)
    file.write("\n")
    columns.sentences(_NOTES, file, room)


def render_diff(title: str, diff: FlameDiff, file: TextIO, terminal: int = columns.WIDTH) -> None:
    """Writes the same of two, per trace."""
    room = min(terminal, columns.WIDTH)
    columns.sentences([safe(title), diff_summary(diff)], file, room)
    file.write("\n")
    whole = max(_a_trace(diff.now), _a_trace(diff.before)) * _NS
    if not whole:
        file.write("Nothing took any time.\n")
        return

    def row(place: int) -> tuple[str, ...]:
        change = diff.changes[place]
        took = (change.total_ns, change.before_ns)
        now, before = (units.duration(one / _NS) if one else units.ABSENT for one in took)
        counts = (units.three_digits(change.count), units.three_digits(change.before_count))
        return now, before, signed(change.grown_ns), f"{counts[0]} / {counts[1]}"

    def share(place: int) -> float:
        change = diff.changes[place]
        return max(change.total_ns, change.before_ns) / whole

    _write(diff.flame.frames, _DIFF_HEADS, row, share, file, room=room)
    file.write("\n")
    columns.sentences(["Per trace, with all below. spans: now / before."], file, room)


def _write(
    frames: Sequence[Frame],
    heads: Sequence[str],
    row: Callable[[int], tuple[str, ...]],
    share: Callable[[int], float],
    file: TextIO,
    *,
    room: int,
) -> None:
    """The largest frames, with the names of their callers above them."""
    places = [place for place in range(len(frames)) if share(place) >= _LEAST_SHARE]
    if len(places) > _MAX_ROWS:
        least = sorted(map(share, places), reverse=True)[_MAX_ROWS]
        places = [place for place in places if share(place) > least]
    # What is as long as its caller's whole may be shown without it, never without a caller's line.
    rows = [tuple(heads)] + [
        (f"{'  ' * frames[place].level}{safe(frames[place].name, _NAME_COLUMNS)}", *row(place))
        for place in places
    ]
    columns.named(rows, room, file)
    if len(places) < len(frames):
        file.write(f"… and {counted(len(frames) - len(places), 'smaller frame')}.\n")


def render_json(flame: Flame, changes: Sequence[Change] | None, file: TextIO) -> None:
    """Writes one JSON object: the frames, callers first, and what they cover."""
    document: dict[str, Any] = {
        "traces": flame.traces,
        "spans": flame.spans,
        "ran_s": flame.ran_ns / _NS,
        "own_s": flame.own_ns / _NS,
        "frames": [
            {
                "name": frame.name,
                "kind": frame.kind,
                "parent": frame.parent,
                "level": frame.level,
                "total_s": (frame.total_ns if changes is None else changes[place].total_ns) / _NS,
                "own_s": (frame.self_ns if changes is None else changes[place].self_ns) / _NS,
                "before_total_s": None if changes is None else changes[place].before_ns / _NS,
                "before_own_s": None if changes is None else changes[place].before_self_ns / _NS,
                "count": frame.count,
                "errors": frame.errors,
            }
            for place, frame in enumerate(flame.frames)
        ],
    }
    json_document.answer("flame", document, file)
