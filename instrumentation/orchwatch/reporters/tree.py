"""A trace as a tree: who called what, how often, for how long."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from orchwatch.monitor.spans import NS_PER_S, Span
from orchwatch.reporters import units

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

WIDTH = 80
STATUS_ERROR = 2  # OTLP

_HEADS = ("operation", "count", "total", "slowest", "errors")


def render(spans: Sequence[Span], file: TextIO) -> None:
    """Writes the spans of one trace as a tree.

    Calls of the same name and agent under the same caller share a line, and so do theirs.

    Args:
        spans: All of one trace, by start; at least one.
        file: Where to write.
    """
    known = {span.span_id for span in spans}
    children: dict[str | None, list[Span]] = defaultdict(list)
    for span in spans:
        children[span.parent_span_id if span.parent_span_id in known else None].append(span)
    rows = [_HEADS, *_rows(children[None], children, None, None)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    started = datetime.fromtimestamp(spans[0].start_ns / NS_PER_S, UTC)
    file.write(f"trace {spans[0].trace_id}, {len(spans)} spans, {started:%Y-%m-%d %H:%M:%S} UTC\n")
    for name, *figures in rows:
        cells = [cell.rjust(width) for cell, width in zip(figures, widths[1:], strict=True)]
        room = min(widths[0], WIDTH - sum(len(cell) + 2 for cell in cells))
        # A name that is too long stands on a line of its own: nothing is cut off.
        start = name.ljust(room) if len(name) <= room else f"{name}\n{'':{room}}"
        file.write("  ".join([start, *cells]).rstrip() + "\n")


def _rows(
    calls: Iterable[Span],
    children: Mapping[str | None, list[Span]],
    agent: str | None,
    margin: str | None,
) -> Iterator[tuple[str, ...]]:
    """A line for each group of calls and those inside it; only roots have no margin."""
    groups: dict[tuple[str, str | None], list[Span]] = defaultdict(list)
    for span in calls:
        groups[span.name, span.agent].append(span)
    for number, ((name, who), group) in enumerate(groups.items(), 1):
        last = number == len(groups)
        title = f"{name} [{who}]" if who and who != agent else name
        branch = deeper = ""
        if margin is not None:
            branch = margin + ("└─ " if last else "├─ ")
            deeper = margin + ("   " if last else "│  ")
        errors = sum(span.status == STATUS_ERROR for span in group)
        yield (
            f"{branch}{title}",
            str(len(group)),
            units.duration(sum(span.duration_ns for span in group) / NS_PER_S),
            units.duration(max(span.duration_ns for span in group) / NS_PER_S),
            str(errors) if errors else "",
        )
        inside = [child for span in group for child in children.get(span.span_id, ())]
        yield from _rows(inside, children, who, deeper)
