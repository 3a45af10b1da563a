"""A trace as a waterfall: each span as a bar in time, what the whole waited for in full."""

from __future__ import annotations

from datetime import UTC, datetime
from heapq import nsmallest
from operator import sub
from typing import TYPE_CHECKING, TextIO

from orchwatch import units
from orchwatch.analysis.span_tree import is_timed, label
from orchwatch.recording.safe_text import ljust, rjust, safe, width
from orchwatch.reporters.columns import sentences
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchwatch.analysis.critical_path import Segment
    from orchwatch.analysis.span_tree import SpanTree

_NS = 1_000_000_000
_STATUS_ERROR = 2  # OTLP
_MOST_ROWS = 60
_MOST_LEVELS = 12
_LEAST_BAR = 16
_LEAST_COLUMNS = 40  # of a sentence, which a trace's id stands in
_NAME_COLUMNS = 40
_ERROR_COLUMNS = 24
_WAITED_FOR, _RUNNING, _NOTHING = "█", "░", " "


def render(tree: SpanTree, path: Iterable[Segment], file: TextIO, columns: int) -> None:
    """Writes a line a span, callers above what they call, at most 60 of them: the longest.

    Args:
        tree: All of one trace.
        path: What it waited for, as `critical_path.walked` gives it.
        file: Where to write.
        columns: How wide a line may be.
    """
    start_ns, end_ns = tree.start[tree.root], tree.end[tree.root]
    started = datetime.fromtimestamp(start_ns / _NS, UTC)
    title = (
        f"trace {tree.spans[0].trace_id}, {counted(len(tree.spans), 'span')},"
        f" {units.duration((end_ns - start_ns) / _NS)}, {started:%Y-%m-%d %H:%M:%S} UTC"
    )
    sentences([title], file, max(columns, _LEAST_COLUMNS))
    rows = [
        (place, _title(tree, place, level), *_told(tree, place)) for place, level in _rows(tree)
    ]
    names, took, errors = (max(width(str(row[column])) for row in rows) for column in range(1, 4))
    names = min(names, max(columns // 2 - 4, 20))
    room = max(columns - names - took - errors - 4 - 2 * bool(errors), _LEAST_BAR)
    marks = _marks(tree, {row[0] for row in rows}, path, room)
    for place, name, length, error in rows:
        # A name that is too long stands on a line of its own: nothing is cut off.
        first = ljust(name, names) if width(name) <= names else f"{name}\n{'':{names}}"
        line = f"{first}  {marks[place]}  {rjust(length, took)}  {error}"
        file.write(line.rstrip() + "\n")
    if len(rows) < len(tree.spans):
        left = len(tree.spans) - len(rows)
        said = f"… and {counted(left, 'shorter span')}; --format json has every one."
        sentences([said], file, max(columns, _LEAST_COLUMNS))
    legend = f"{_WAITED_FOR} what the whole waited for", f"{_RUNNING} the rest of a span's time"
    gap = "  " if sum(map(width, legend)) + 2 <= columns else "\n"
    file.write(gap.join(legend) + "\n")


def _rows(tree: SpanTree) -> Iterator[tuple[int, int]]:
    """Which spans are shown, in order, and how far to the right."""
    shorter_ns = list(map(sub, tree.start, tree.end))
    shown = set(nsmallest(_MOST_ROWS, range(tree.root), key=shorter_ns.__getitem__))
    # Those and all above them: no other has a row below it.
    leading = {tree.root}
    for place in shown:
        while place not in leading:
            leading.add(place)
            place = tree.parent[place]  # noqa: PLW2901 - upwards
    waiting = [(tree.root, 0)]
    while waiting:
        place, level = waiting.pop()
        if place in shown:
            yield place, level
            level += 1
        below = [(child, level) for child in tree.children[place] if child in leading]
        waiting += reversed(below)


def _title(tree: SpanTree, place: int, level: int) -> str:
    span, above = tree.spans[place], tree.parent[place]
    caller = tree.spans[above].agent if above != tree.root else None
    title = safe(label(span), _NAME_COLUMNS)
    if span.agent and span.agent != caller and not title.endswith(span.agent):
        title += f" [{safe(span.agent, _NAME_COLUMNS)}]"
    indent = "  " * min(level, _MOST_LEVELS)
    return f"{indent}{title}" if level <= _MOST_LEVELS else f"{indent}({level}) {title}"


def _told(tree: SpanTree, place: int) -> tuple[str, str]:
    span = tree.spans[place]
    took = units.duration((span.end_ns - span.start_ns) / _NS if is_timed(span) else None)
    if span.status != _STATUS_ERROR:
        return took, ""
    return took, safe(span.error_type or "error", _ERROR_COLUMNS)


def _marks(tree: SpanTree, shown: set[int], path: Iterable[Segment], room: int) -> dict[int, str]:
    """The bar of each span that is shown, on a line of `room` columns."""
    first_ns = tree.start[tree.root]
    whole_ns = max(tree.end[tree.root] - first_ns, 1)

    def cells(start_ns: int, end_ns: int) -> range:
        """Those that a time touches, at least one."""
        first = min((start_ns - first_ns) * room // whole_ns, room - 1)
        return range(first, max(-(-(end_ns - first_ns) * room // whole_ns), first + 1))

    bars = {place: [_NOTHING] * room for place in shown}
    for place, bar in bars.items():
        for cell in cells(tree.start[place], tree.end[place]):
            bar[cell] = _RUNNING
    for segment in path:
        for cell in cells(segment.start_ns, segment.end_ns) if segment.place in bars else ():
            bars[segment.place][cell] = _WAITED_FOR
    return {place: "".join(bar) for place, bar in bars.items()}
