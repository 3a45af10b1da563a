"""A critical path as a table in 80 columns and in the order of time, or as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any, TextIO

from orchwatch import units
from orchwatch.analysis.span_tree import kind, label
from orchwatch.recording.safe_text import rjust, safe, width
from orchwatch.reporters import columns, json_document
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.analysis.critical_path import CriticalPath, Entry, Segment
    from orchwatch.analysis.span_tree import SpanTree
    from orchwatch.store.outlines import Outline

_NS = 1_000_000_000
_MAX_ENTRIES = 12
_MAX_STEPS = 12
_NAME_COLUMNS = 60
_ID_LENGTH = 8
# Of a hundredth of a per cent.
_PARTS = 10_000
_HEADS = ("waited for", "spans", "time", "share", "saves")
_NOTES = (
    "time: what the whole waited for, outside of what it called in turn; shares are of all that.",
    "saves: how much sooner the whole would have ended, had all of that name taken no time.",
    "Less where something else takes its place. docs/seeing.md has the method.",
)


def render(tree: SpanTree, path: CriticalPath, file: TextIO, terminal: int = columns.WIDTH) -> None:
    """Writes what was waited for, the longest first, then in the order of time.

    Args:
        tree: At least one span.
        path: Of that tree.
        file: Where to write.
        terminal: How many columns it has.
    """
    room = min(terminal, columns.WIDTH)
    started = datetime.fromtimestamp(path.start_ns / _NS, UTC)
    title = f"{_title(tree)}, {started:%Y-%m-%d %H:%M:%S} UTC"
    columns.sentences([title, *_summary(tree, path).splitlines()], file, room)
    file.write("\n")
    if not path.entries:
        file.write("Nothing took any time.\n")
        return
    shown, rest = path.entries[:_MAX_ENTRIES], path.entries[_MAX_ENTRIES:]
    shares = percentages([entry.path_ns for entry in path.entries])
    rows = [_row(entry, share) for entry, share in zip(shown, shares, strict=False)]
    if rest:
        rest_ns = sum(entry.path_ns for entry in rest)
        title = f"… {counted(len(rest), 'other name')}"
        spans = str(sum(entry.spans for entry in rest))
        share = _percent(sum(shares[_MAX_ENTRIES:]))
        rows.append((title, spans, units.duration(rest_ns / _NS), share, ""))
    columns.named([_HEADS, *rows], room, file)
    file.write("\nIn order:\n")
    _write_steps(tree, path, file)
    file.write("\n")
    columns.sentences(_NOTES, file, room)


def render_json(tree: SpanTree, path: CriticalPath, file: TextIO) -> None:
    """Writes one JSON object: the figures, what is on the path by name, and its pieces in order."""
    traces = {span.trace_id for span in tree.spans}
    sessions = {span.session_id for span in tree.spans} - {None}
    document: dict[str, Any] = {
        "trace_id": traces.pop() if len(traces) == 1 else None,
        "session_id": sessions.pop() if len(sessions) == 1 else None,
        "started": json_document.moment(path.start_ns),
        "ended": json_document.moment(path.end_ns),
        "spans": len(tree.spans),
        "moved_spans": tree.moved,
        "path_s": path.path_ns / _NS,
        "idle_s": path.idle_ns / _NS,
        "agents": path.agents,
        "parallelism": path.parallelism,
        "efficiency": path.efficiency,
        "entries": [
            {
                "kind": entry.kind,
                "name": entry.name,
                "agent": entry.agent,
                "spans": entry.spans,
                "path_s": entry.path_ns / _NS,
                "share": entry.share,
                "saved_s": None if entry.saved_ns is None else entry.saved_ns / _NS,
            }
            for entry in path.entries
        ],
        "segments": [_segment(tree, path, segment) for segment in path.segments],
    }
    json_document.answer("critical-path", document, file)


def percentages(lengths: Sequence[int]) -> list[int]:
    """Shares in hundredths of a per cent that add up to exactly 100 %: largest remainders."""
    whole = sum(lengths)
    if not whole:
        return [0] * len(lengths)
    parts = [length * _PARTS // whole for length in lengths]
    order = sorted(range(len(lengths)), key=lambda n: (-(lengths[n] * _PARTS % whole), n))
    for number in order[: _PARTS - sum(parts)]:
        parts[number] += 1
    return parts


def _title(tree: SpanTree) -> str:
    count = counted(len(tree.spans), "span")
    traces = {span.trace_id for span in tree.spans}
    if len(traces) == 1:
        return f"critical path of trace {traces.pop()}, {count}"
    sessions = {span.session_id for span in tree.spans} - {None}
    of = f"session {safe(str(sessions.pop()))}, " if len(sessions) == 1 else ""
    return f"critical path of {of}{counted(len(traces), 'trace')}, {count}"


def _summary(tree: SpanTree, path: CriticalPath) -> str:
    parts = [f"{units.duration(path.path_ns / _NS)} in all"]
    if path.idle_ns:
        parts.append(f"besides {units.duration(path.idle_ns / _NS)} of which nothing is recorded")
    text = ", ".join(parts) + "."
    if path.agents > 1 and path.parallelism is not None:
        text += (
            f"\n{path.agents} agents, {units.three_digits(path.parallelism)} at work at a time:"
            f" parallel efficiency {units.share(path.efficiency)}."
        )
    if tree.moved:
        text += f"\n{counted(tree.moved, 'span')} moved: another machine's clock was behind."
    return text


def _row(entry: Entry, share: int) -> tuple[str, ...]:
    return (
        what(entry.kind, entry.name, entry.agent),
        str(entry.spans),
        units.duration(entry.path_ns / _NS),
        _percent(share),
        units.ABSENT if entry.saved_ns is None else units.duration(entry.saved_ns / _NS),
    )


def what(of: str, name: str, agent: str | None) -> str:
    """`tool Bash [worker]`; the kind where the name does not say it."""
    title = safe(name, _NAME_COLUMNS)
    if of not in ("other", "agent") and not name.startswith(of):
        title = f"{of} {title}"
    return f"{title} [{safe(agent, _NAME_COLUMNS)}]" if agent else title


def _of_span(span: Outline) -> str:
    return what(kind(span), label(span), span.agent)


def _percent(parts: int) -> str:
    return f"{parts // 100}.{parts % 100:02}%"


def _write_steps(tree: SpanTree, path: CriticalPath, file: TextIO) -> None:
    """The path from start to end; what is short in between stands in one line."""
    steps = _steps(tree, path.segments)
    lengths = sorted((length for *_, length in steps), reverse=True)
    least = lengths[: _MAX_STEPS + 1][-1] if len(lengths) > _MAX_STEPS else -1
    lines = []
    for long, group in groupby(steps, key=lambda step: step[2] > least):
        several = list(group)
        if not long and len(several) > 1:
            total = sum(length for *_, length in several)
            several = [(f"… {counted(len(several), 'short step')}", several[0][1], total)]
        lines += several
    rows = [
        (_offset(at - path.start_ns), units.duration(length / _NS), name)
        for name, at, length in lines
    ]
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    file.writelines(
        f"{rjust(at, widths[0])}  {rjust(length, widths[1])}  {name}\n" for at, length, name in rows
    )


def _offset(length_ns: int) -> str:
    return f"+{units.duration(length_ns / _NS)}" if length_ns else "+0s"


def _steps(tree: SpanTree, segments: Sequence[Segment]) -> list[tuple[str, int, int]]:
    """What was waited for, from when, and for how long, one after the other."""
    steps: list[tuple[str, int, int]] = []
    for segment in segments:
        name, start_ns, length_ns = _of_span(tree.spans[segment.place]), segment.start_ns, 0
        if steps and steps[-1][0] == name and steps[-1][1] + steps[-1][2] == start_ns:
            _, start_ns, length_ns = steps.pop()
        steps.append((name, start_ns, length_ns + segment.end_ns - segment.start_ns))
    return steps


def _segment(tree: SpanTree, path: CriticalPath, segment: Segment) -> dict[str, Any]:
    span = tree.spans[segment.place]
    return {
        "at_s": (segment.start_ns - path.start_ns) / _NS,
        "duration_s": (segment.end_ns - segment.start_ns) / _NS,
        "kind": kind(span),
        "name": label(span),
        "agent": span.agent,
        "trace_id": span.trace_id,
        "span_id": f"{span.span_id:016x}",
    }
