"""How much of the spool the Collector has not read yet, and how full the spool's budget is."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchwatch import units
from orchwatch.diagnosis import collector_offsets
from orchwatch.diagnosis.check import Check
from orchwatch.diagnosis.servers import VISIBLE_AFTER_S, servers
from orchwatch.recording import files, spool, spool_budget
from orchwatch.recording.home import spool_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# A segment's first line is shorter, see `spool`.
_HEAD_BYTES = 1000
# One line of ours is some 600 bytes; of a batch from the SDK the first spans are enough.
_LINE_BYTES = 64 * 1024
# The lines of the SDK's metrics have a space behind the colon.
_MOMENT = re.compile(rb'"(?:endTimeUnixNano|timeUnixNano)"\s*:\s*"(\d{1,19})"')
_NS = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """The backlog of one family of segments.

    Attributes:
        family: One of `spool.FAMILIES`.
        size_bytes: The size of all its segments.
        unread_bytes: What the Collector has not read; None where that cannot be seen, or it does
            not read this family.
        age_s: How long ago the first thing that it has not read happened, 0 where it has read
            everything. None where that cannot be seen, and for what never happens now.
    """

    family: str
    size_bytes: int
    unread_bytes: int | None = None
    age_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class _Segment:
    path: str
    size_bytes: int
    modified_ns: int
    first_line: bytes


def budget_bytes() -> int:
    """The size that the spool may grow to, by this process' environment, in bytes."""
    setting = spool_budget.parse(os.environ.get(spool_budget.VARIABLE, ""))
    return setting or spool_budget.BUDGET_BYTES


def check_backlog() -> Iterator[Check]:
    """Whether the Collector keeps up, where one should run and its state can be seen."""
    # One that ran long ago has left its state, and is not expected to read on.
    if not any(one.expected for one in servers() if one.title == "Collector"):
        return
    known = [one for one in BacklogReader().look() if one.unread_bytes is not None]
    if not known:
        return
    unread_bytes = sum(one.unread_bytes or 0 for one in known)
    age_s = max(one.age_s or 0 for one in known)
    if not unread_bytes:
        yield Check(name="spool backlog", state="ok", found="the Collector has read everything")
        return
    found = f"{units.size(unread_bytes)} not read by the Collector yet"
    if age_s <= VISIBLE_AFTER_S:
        yield Check(name="spool backlog", state="ok", found=found)
        return
    yield Check(
        name="spool backlog",
        state="warn",
        found=f"{found}, the first of it {units.age(age_s)} old",
        remedy="see whether the Collector runs, and whether Tempo and Prometheus take what it"
        f" sends; beyond {units.size(budget_bytes())} in all, the oldest lines are dropped",
    )


class BacklogReader:
    """Measures the backlog repeatedly; remembers the first lines, which never change."""

    def __init__(self) -> None:
        self._first_lines: dict[tuple[str, int], bytes] = {}

    def look(self) -> list[Backlog]:
        """One of each family; none where there is no spool."""
        directory = spool_directory()
        known = self._first_lines
        self._first_lines = {}
        try:
            return [
                _backlog(family, list(self._segments(directory, family, known)))
                for family in spool.FAMILIES
            ]
        except OSError:
            return []

    def _segments(
        self, directory: str, family: str, known: Mapping[tuple[str, int], bytes]
    ) -> Iterator[_Segment]:
        """Oldest first."""
        for number in spool.segment_numbers(directory, family):
            path = spool.segment_path(directory, family, number)
            try:
                status = os.lstat(path)
                identity = path, status.st_ino
                first_line = known.get(identity) or _first_line(path)
            except OSError:  # dropped meanwhile, or no segment
                continue
            self._first_lines[identity] = first_line
            yield _Segment(
                path=path,
                size_bytes=status.st_size,
                modified_ns=status.st_mtime_ns,
                first_line=first_line,
            )


def _first_line(path: str) -> bytes:
    file = files.descriptor(path, links=False)
    try:
        return collector_offsets.first_line(os.read(file, _HEAD_BYTES))
    finally:
        os.close(file)


def _backlog(family: str, segments: list[_Segment]) -> Backlog:
    size_bytes = sum(segment.size_bytes for segment in segments)
    offsets = collector_offsets.read(family)
    if offsets is None:
        return Backlog(family=family, size_bytes=size_bytes)
    unread = [
        (segment, offset)
        for segment in segments
        if (offset := offsets.get(segment.first_line, 0)) < segment.size_bytes
    ]
    age_s = None
    # The imported past is read when there is time for it, and its own times say nothing.
    if family != spool.HISTORY:
        age_s = _age_s(*unread[0]) if unread else 0.0
    unread_bytes = sum(segment.size_bytes - offset for segment, offset in unread)
    return Backlog(family=family, size_bytes=size_bytes, unread_bytes=unread_bytes, age_s=age_s)


def _age_s(segment: _Segment, offset: int) -> float:
    """Of the first line behind an offset that says when it happened."""
    moment_ns = segment.modified_ns
    try:
        with files.reader(segment.path, links=False) as file:
            file.seek(offset)
            found = _MOMENT.search(file.read(_LINE_BYTES))
    except OSError:
        found = None  # dropped meanwhile
    if found is not None:
        moment_ns = min(int(found[1]), moment_ns)
    return max(0.0, (time.time_ns() - moment_ns) / _NS)
