"""Flame graphs as files of other programs: folded stacks, speedscope, Chrome's trace events.

Nothing in a name can end a stack or a line: what is not printable is shown as an escape, and so is
the semicolon of a folded stack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.analysis.lanes import lanes
from orchwatch.analysis.span_tree import kind, label
from orchwatch.recording.safe_text import safe
from orchwatch.recording.version import __version__
from orchwatch.reporters import json_document

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from orchwatch.analysis.flame import Flame
    from orchwatch.analysis.flame_diff import FlameDiff
    from orchwatch.analysis.span_tree import SpanTree

_NAME_COLUMNS = 1000
_SPEEDSCOPE = "https://www.speedscope.app/file-format-schema.json"
_PROCESS = 1
_AT_ONCE = 1000
_US_PER_NS = 1000
_STATUS_ERROR = 2  # OTLP


def folded(flame: Flame, file: TextIO) -> None:
    """Writes a line a stack: frames joined by `;`, then its own time in whole nanoseconds."""
    names = [_folded_name(frame.name) for frame in flame.frames]
    file.writelines(
        f"{';'.join([names[place] for place in path])} {frame.self_ns}\n"
        for path, frame in flame.stacks()
    )


def folded_diff(diff: FlameDiff, file: TextIO) -> None:
    """Writes the same with two times, before and now, as `difffolded.pl` does and reads."""
    names = [_folded_name(frame.name) for frame in diff.flame.frames]
    file.writelines(
        f"{';'.join([names[place] for place in path])}"
        f" {round(diff.changes[path[-1]].before_self_ns)} {round(diff.changes[path[-1]].self_ns)}\n"
        for path, _ in diff.flame.stacks()
    )


def _folded_name(name: str) -> str:
    return safe(name, _NAME_COLUMNS).replace(";", "\\x3b").strip() or "(no name)"


def speedscope(named: Sequence[tuple[str, Flame]], file: TextIO) -> None:
    """Writes speedscope's file format: each graph as a profile of samples, one a stack."""
    numbers: dict[str, int] = {}
    profiles = []
    for title, flame in named:
        places = [
            numbers.setdefault(safe(frame.name, _NAME_COLUMNS), len(numbers))
            for frame in flame.frames
        ]
        stacks = [([places[one] for one in path], frame.self_ns) for path, frame in flame.stacks()]
        profiles.append(
            {
                "type": "sampled",
                "name": safe(title, _NAME_COLUMNS),
                "unit": "nanoseconds",
                "startValue": 0,
                "endValue": sum(own_ns for _, own_ns in stacks),
                "samples": [stack for stack, _ in stacks],
                "weights": [own_ns for _, own_ns in stacks],
            }
        )
    document: dict[str, Any] = {
        "$schema": _SPEEDSCOPE,
        "exporter": f"orchwatch@{__version__}",
        "name": profiles[0]["name"],
        "activeProfileIndex": 0,
        "shared": {"frames": [{"name": name} for name in numbers]},
        "profiles": profiles,
    }
    json_document.render(document, file, indent=None)


def chrome(tree: SpanTree, title: str, file: TextIO) -> None:
    """Writes Chrome's trace events, which Perfetto reads: each span in time, a thread a lane.

    Times are microseconds after the first start, to the nanosecond.
    """
    first_ns = tree.start[tree.root]
    placed = lanes(tree)
    threads = {lane: number for number, lane in enumerate(sorted(set(placed)), 1)}
    events = [_metadata("process_name", 0, safe(title, _NAME_COLUMNS))]
    for (agent, number), thread in threads.items():
        name = safe(agent, _NAME_COLUMNS) or "main"
        events.append(_metadata("thread_name", thread, f"{name} {number + 1}" if number else name))
    about = {"exporter": f"orchwatch {__version__}", "first_start_ns": str(first_ns)}
    in_ascii = json_document.ascii_only(file)
    head = json_document.dumps({"displayTimeUnit": "ns", "otherData": about, "traceEvents": []})
    file.write(head.removesuffix("]}"))
    file.write(json_document.dumps(events, ascii_only=in_ascii)[1:-1])
    # Piece by piece: as one text, a million spans take more memory than all else.
    for first in range(0, len(placed), _AT_ONCE):
        piece = [
            _event(tree, place, threads[placed[place]], first_ns)
            for place in range(first, min(first + _AT_ONCE, len(placed)))
        ]
        file.write(", " + json_document.dumps(piece, ascii_only=in_ascii)[1:-1])
    file.write("]}\n")


def _metadata(name: str, thread: int, value: str) -> dict[str, Any]:
    return {"ph": "M", "name": name, "pid": _PROCESS, "tid": thread, "args": {"name": value}}


def _event(tree: SpanTree, place: int, thread: int, first_ns: int) -> dict[str, Any]:
    span = tree.spans[place]
    arguments = {"span_id": f"{span.span_id:016x}", "trace_id": span.trace_id}
    if span.status == _STATUS_ERROR:
        arguments[semconv.ERROR_TYPE] = safe(span.error_type or "", _NAME_COLUMNS)
    return {
        "ph": "X",
        "name": safe(label(span), _NAME_COLUMNS) or "(no name)",
        "cat": kind(span),
        "pid": _PROCESS,
        "tid": thread,
        "ts": (tree.start[place] - first_ns) / _US_PER_NS,
        "dur": (tree.end[place] - tree.start[place]) / _US_PER_NS,
        "args": arguments,
    }
