"""How the spool is: its size and age, lines that nobody can read, and times that cannot be."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchwatch import spool
from orchwatch.home import home, spool_directory
from orchwatch.monitor import archive, segments
from orchwatch.monitor.check import Check
from orchwatch.monitor.wording import counted, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchwatch.monitor.segments import Segment

_TAIL_BYTES = 256 * 1024
# Clocks of one machine agree; this is for home directories on a network.
_FUTURE_TOLERANCE_S = 60.0
_NS = 1e9


@dataclass(frozen=True, kw_only=True)
class Newest:
    """The operation that ended last, as far as the spool shows.

    Attributes:
        trace_id: Of its trace, 32 hexadecimal digits.
        end_s: When it ended, in Unix seconds.
    """

    trace_id: str
    end_s: float


def newest_operation() -> Newest | None:
    """The last operation that was appended to be counted; None where there is none."""
    operations = [
        segment
        for segment in segments.find(Path(spool_directory()))
        if segment.family == spool.OPERATIONS
    ]
    for segment in reversed(operations):
        for line in reversed(_last_lines(segment)):
            ended = [_newest(span) for span in _spans(line)]
            if ended:
                return max(ended, key=lambda newest: newest.end_s)
    return None


def _last_lines(segment: Segment) -> list[bytes]:
    try:
        with segment.path.open("rb") as file:
            file.seek(max(0, segment.size_bytes - _TAIL_BYTES))
            return file.read().split(b"\n")
    except OSError:
        return []  # dropped meanwhile, or not ours to read


def check_spool() -> Iterator[Check]:
    """Looks at what lies in the spool."""
    directory = Path(spool_directory())
    found = segments.find(directory)
    if not found:
        yield Check(name="spool", state="unknown", found=f"{directory} holds no operations yet")
        return
    yield _check_size(directory, found)
    yield _check_lines(found)
    yield _check_clock(found)


def _check_size(directory: Path, found: list[Segment]) -> Check:
    size_bytes = sum(segment.size_bytes for segment in found)
    newest_s = max(segment.modified_ns for segment in found) / _NS
    oldest_s = min(segment.modified_ns for segment in found) / _NS
    text = (
        f"{size(size_bytes)} in {counted(len(found), 'segment')} in {directory}, "
        f"last written {format_age(newest_s)} ago"
    )
    if len(found) > 1:
        text += f", the oldest {format_age(oldest_s)} ago"
    return Check(name="spool", state="ok", found=text)


def _check_lines(found: list[Segment]) -> Check:
    compacted = archive.find(Path(home()) / "store")
    unreadable = 0
    for segment in found:
        known = compacted.get(segment.id)
        if known is not None and known.source_bytes == segment.size_bytes:
            unreadable += known.unreadable
        else:
            unreadable += _count_unreadable(segment)
    if not unreadable:
        return Check(name="spool lines", state="ok", found="every line can be read")
    return Check(
        name="spool lines",
        state="warn",
        found=f"{counted(unreadable, 'line')} cannot be read, skipped by every command",
        remedy="each is an operation lost to a process killed while it wrote, or to another program"
        " writing into the spool",
    )


def _check_clock(found: list[Segment]) -> Check:
    now_s = time.time()
    newest = newest_operation()
    latest_s = max(
        newest.end_s if newest else 0.0, *(segment.modified_ns / _NS for segment in found)
    )
    ahead_s = latest_s - now_s
    if ahead_s <= _FUTURE_TOLERANCE_S:
        return Check(name="clock", state="ok", found="nothing in the spool is from the future")
    return Check(
        name="clock",
        state="warn",
        found=f"the spool's newest operation is {format_duration(ahead_s)} ahead of the clock",
        remedy="set the clock, or see which machine wrote it with another one; until then ages are"
        " wrong and Prometheus may refuse what is recorded",
    )


def _count_unreadable(segment: Segment) -> int:
    try:
        return sum(
            not _is_readable(line)
            for piece, _ in segments.read(segment, 0)
            for line in piece.split(b"\n")
            if line.strip()
        )
    except OSError:
        return 0  # dropped meanwhile


def _is_readable(line: bytes) -> bool:
    # What is whole has balanced braces; parsing every line would take a minute for a full spool.
    # Braces inside of texts may mislead the count, so it only decides in favour of a line.
    if line.startswith(b'{"') and line.endswith(b"}") and line.count(b"{") == line.count(b"}"):
        return True
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _spans(line: bytes) -> list[dict[str, Any]]:
    try:
        return [
            span
            for resource in json.loads(line)["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
            if int(span["endTimeUnixNano"]) and span["traceId"]
        ]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []


def _newest(span: dict[str, Any]) -> Newest:
    return Newest(trace_id=span["traceId"], end_s=int(span["endTimeUnixNano"]) / _NS)


def format_age(moment_s: float) -> str:
    """How long ago a moment was, for a person: `3 s`, `5 min`, `2.5 h`, `3 d`."""
    return format_duration(time.time() - moment_s)


def format_duration(duration_s: float) -> str:
    """A duration for a person: `3 s`, `5 min`, `2.5 h`, `3 d`."""
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60)):
        if duration_s >= 2 * seconds:
            return f"{duration_s / seconds:.3g} {unit}"
    return f"{max(duration_s, 0):.0f} s"
