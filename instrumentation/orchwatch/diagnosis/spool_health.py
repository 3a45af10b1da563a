"""The state of the spool: its size and age, unreadable lines, impossible times."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchwatch import units
from orchwatch.diagnosis.check import Check
from orchwatch.errors import OrchwatchError
from orchwatch.recording import files, spool
from orchwatch.recording.home import home, spool_directory
from orchwatch.store import archive, retention, segments, small, spans
from orchwatch.store.selection import Selection
from orchwatch.targets import config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchwatch.store.segments import Segment

_PIECE_BYTES = 256 * 1024
# The most files that a check names.
_MAX_LISTED = 5
# Clocks of one machine agree; this is for home directories on a network.
_FUTURE_TOLERANCE_S = 60.0
_NS = 1e9


@dataclass(frozen=True, kw_only=True)
class NewestOperation:
    """The operation that ended last, or last before some moment, as far as the spool shows.

    Attributes:
        trace_id: Of its trace, 32 hexadecimal digits.
        end_s: When it ended, in Unix seconds.
    """

    trace_id: str
    end_s: float


def newest_operation(until_s: float = math.inf) -> NewestOperation | None:
    """The last operation that was appended to be counted; None where there is none.

    Args:
        until_s: Only those that had ended by then, in Unix seconds.
    """
    operations = [
        segment
        for segment in segments.find(Path(spool_directory()))
        if segment.family == spool.OPERATIONS
    ]
    for segment in reversed(operations):
        for lines in _pieces(segment):
            # Lines stand in the order of their ends, or nearly so: where the first is too young,
            # the others are, and parsing all that a busy system has just recorded takes seconds.
            first = next(filter(None, map(_ended, lines)), None)
            if first is None or first.end_s > until_s:
                continue
            ended = filter(None, map(_ended, reversed(lines)))
            return next(operation for operation in ended if operation.end_s <= until_s)
    return None


def _pieces(segment: Segment) -> Iterator[list[bytes]]:
    """The lines of a segment in bounded pieces, the last piece first."""
    try:
        with files.reader(segment.path) as file:
            rest: list[bytes] = []  # of a line whose start is not found yet, its end first
            for end in range(segment.size_bytes, 0, -_PIECE_BYTES):
                start = max(0, end - _PIECE_BYTES)
                file.seek(start)
                first, newline, others = file.read(end - start).partition(b"\n")
                if newline:
                    yield b"".join([others, *reversed(rest)]).split(b"\n")
                    rest = []
                elif sum(map(len, rest)) > files.MAX_LINE_BYTES:
                    return  # whatever it is, it is no segment of ours
                rest.append(first)
            yield [b"".join(reversed(rest))]
    except OSError:
        return  # dropped meanwhile, or not ours to read


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


def check_store() -> Iterator[Check]:
    """Looks at the files that closed segments were compacted to."""
    directory = Path(home()) / "store"
    held = {segment.id: segment.size_bytes for segment in segments.find(Path(spool_directory()))}
    held |= {file.id: file.source_bytes for file in archive.find(directory).values()}
    lost = [
        file.path.name
        for file in archive.damaged(directory)
        if held.get(file.id, 0) < file.source_bytes
    ]
    if lost:
        listed = ", ".join(lost[:_MAX_LISTED])
        more = f" and {len(lost) - _MAX_LISTED} more" if len(lost) > _MAX_LISTED else ""
        yield Check(
            name="store",
            state="warn",
            found=f"damaged and left out, with operations that nothing else holds: {listed}{more},"
            f" in {directory}",
            remedy="restore what is damaged from a backup, or move it away",
        )


def check_retention() -> Iterator[Check]:
    """Says how long and how much the store keeps; nothing where it holds nothing."""
    directory = Path(home()) / "store"
    found = archive.find(directory)
    in_spool = {segment.id for segment in segments.find(Path(spool_directory()))}
    try:
        limits = config.load().retention
    except OrchwatchError:
        return  # the check of the configuration says why
    stored = retention.look(found.values())
    if not stored:
        return
    kept = [
        f"{limits.store_days:g} days" if limits.store_days else "",
        f"up to {units.size(int(limits.store_bytes))}" if limits.store_bytes else "",
    ]
    rule = " and ".join(filter(None, kept))
    oldest = units.age(time.time() - stored[0].modified_ns / _NS)
    text = (
        f"{units.size(sum(each.size_bytes for each in stored))} in"
        f" {units.counted(len(stored), 'file')}, the oldest from {oldest} ago; kept:"
        f" {rule or 'everything'} ([{config.RETENTION_TABLE}] in orchwatch.toml)"
    )
    left = retention.expired(found.values(), in_spool, limits, time.time_ns())
    if left:
        yield Check(
            name="retention",
            state="warn",
            found=f"{text}; beyond that: {units.counted(len(left), 'file')}",
            remedy=f"orchwatch current drops them, unless they are not yours: {directory}",
        )
    else:
        yield Check(name="retention", state="ok", found=text)


def _check_size(directory: Path, found: list[Segment]) -> Check:
    size_bytes = sum(segment.size_bytes for segment in found)
    newest_s = max(segment.modified_ns for segment in found) / _NS
    oldest_s = min(segment.modified_ns for segment in found) / _NS
    text = (
        f"{units.size(size_bytes)} in {units.counted(len(found), 'segment')} in {directory}, "
        f"last written {units.age(time.time() - newest_s)} ago"
    )
    if len(found) > 1:
        text += f", the oldest {units.age(time.time() - oldest_s)} ago"
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
        found=f"{units.counted(unreadable, 'line')} cannot be read, skipped by every command",
        remedy="each is an operation lost to a process killed while it wrote, or to another program"
        " writing into the spool",
    )


def _check_clock(found: list[Segment]) -> Check:
    now_s = time.time()
    newest = newest_operation()
    ahead = _count_ahead()
    latest_s = max(
        newest.end_s if newest else 0.0, *(segment.modified_ns / _NS for segment in found)
    )
    ahead_s = latest_s - now_s
    found_ahead = []
    if ahead_s > _FUTURE_TOLERANCE_S:
        found_ahead.append(
            f"the spool's newest operation is {units.age(ahead_s)} ahead of the clock"
        )
    if ahead:
        found_ahead.append(
            f"{units.counted(ahead, 'operation')} dated in the future,"
            " which every command leaves out"
        )
    if not found_ahead:
        return Check(name="clock", state="ok", found="nothing in the spool is from the future")
    return Check(
        name="clock",
        state="warn",
        found="; ".join(found_ahead),
        remedy="set the clock, or see which machine wrote it with another one; until then ages are"
        " wrong and Prometheus may refuse what is recorded",
    )


def _count_ahead() -> int:
    """How many operations are dated in the future; 0 where the store cannot be read."""
    directory = Path(home())
    try:
        found = small.read(directory)
        if found is not None:
            return spans.outside(found, Selection(history=True)).later
        from orchwatch.store.database import Store  # noqa: PLC0415 - DuckDB need not be installed

        with Store(directory) as store:
            return spans.outside(store, Selection(history=True)).later
    except OrchwatchError:
        return 0  # other checks say why


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
    # Braces inside strings may mislead the count, so it only decides in favour of a line.
    if line.startswith(b'{"') and line.endswith(b"}") and line.count(b"{") == line.count(b"}"):
        return True
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _ended(line: bytes) -> NewestOperation | None:
    """The operation of a line, the last of several; None where it holds none."""
    try:
        spans = [
            NewestOperation(trace_id=span["traceId"], end_s=int(span["endTimeUnixNano"]) / _NS)
            for resource in json.loads(line)["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
            if int(span["endTimeUnixNano"]) and span["traceId"]
        ]
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None
    return max(spans, key=lambda span: span.end_s, default=None)
