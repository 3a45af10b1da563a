"""Operations on their way into the window: out of the store at the start, then out of the spool.

The spool is read line by line as it grows, whoever compacts it. This process compacts it too, as
every reader of the store does: of a spool that nobody compacts the oldest lines are lost.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from orchwatch import names, spool
from orchwatch.errors import OrchwatchError
from orchwatch.follower.ended import Ended, Reader
from orchwatch.monitor import archive, segments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from orchwatch.follower.window import Window
    from orchwatch.monitor.store import Store

LOOK_INTERVAL_S = 5.0
_COMPACT_INTERVAL_S = 60.0
_CLOSED_AT_ONCE = 4  # segments that are waited for no longer than that: the spool has a budget
# CPU that a round may take while what was there before is loaded; following goes on in between.
_LOADING_S = 0.2

_FAMILIES = (spool.OPERATIONS, spool.UNDELIVERED)
# What was sent again is in both families, see `views`, and counts once.
_MOST_LATE = 50_000
_ASKED_AT_ONCE = 1000

_STORED = """
SELECT operation, end_ns, duration_ns, status = 2, session_id, agent, agent_id,
    printf('%016x', span_id),
    CASE WHEN parent_span_id IS NOT NULL THEN printf('%016x', parent_span_id) END, service,
    nullif(regexp_extract(resource, $host_value, 1), ''),
    nullif(regexp_extract(resource, $pid_value, 1), '')
FROM read_parquet($path) WHERE operation IS NOT NULL AND end_ns >= $since_ns ORDER BY end_ns
"""
_VALUE = r'"{}","value":\s*\{{\s*"(?:stringValue|intValue)"\s*:\s*"?([^"}}]*)'
_STORED_NAMES = {
    "host_value": _VALUE.format(names.HOST_NAME),
    "pid_value": _VALUE.format(names.PROCESS_PID),
}
_EARLIER = """
SELECT count(*) FROM read_parquet($paths::VARCHAR[])
WHERE operation IS NOT NULL AND end_ns < $since_ns
"""
_COUNTED_TOO = """
SELECT DISTINCT printf('%016x', span_id) FROM operations
WHERE span_id IN (SELECT ('0x' || unnest($span_ids::VARCHAR[]))::UBIGINT)
"""

_logger = logging.getLogger(__name__)


class Intake:
    """Reads what is there, then what comes.

    Args:
        home: The home directory.
        store: Its store.
        window: Where operations go.
        since_ns: What ended before is of no interest, Unix nanoseconds.
    """

    def __init__(self, home: Path, store: Store, window: Window, since_ns: int) -> None:
        self._spool = home / "spool"
        self._store = store
        self._window = window
        self._since_ns = since_ns
        found = archive.find(home / "store")
        self._offsets = {file.id: file.source_bytes for file in found.values()}
        self._late: dict[str, None] = {}
        self._reader = Reader()
        # Segments that nobody writes to any more, and those of them that were compacted since.
        self._closed: set[str] = set()
        self._compacted: set[str] = set()
        files = [file for file in found.values() if file.family in _FAMILIES]
        window.durations.earlier = self._count_earlier(
            [str(file.path) for file in files if file.family == spool.OPERATIONS]
        )
        # A file is as old as its newest operation; the counted ones come first, see `_add_late`.
        self._files = deque(
            sorted(
                (file.family != spool.OPERATIONS, file.path.stat().st_mtime_ns, str(file.path))
                for file in files
                if file.path.stat().st_mtime_ns >= since_ns
            )
        )
        self._look_at_s = self._compact_at_s = 0.0

    @property
    def is_complete(self) -> bool:
        """Whether what was there before is in the window."""
        return not self._files

    def step(self, now_s: float) -> None:
        """Takes in what is due by the monotonic clock.

        Raises:
            OrchwatchError: The store cannot be read.
        """
        if self._files:
            self._load()
            return
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + LOOK_INTERVAL_S
            self._read()
        if now_s >= self._compact_at_s or len(self._closed) >= _CLOSED_AT_ONCE:
            self._compact_at_s = now_s + _COMPACT_INTERVAL_S
            self._compacted |= self._closed
            self._closed = set()
            self._store.refresh()

    def _count_earlier(self, paths: list[str]) -> int:
        if not paths:
            return 0
        asked = {"paths": paths, "since_ns": self._since_ns}
        return int(self._store.query(_EARLIER, asked)[0][0])

    def _load(self) -> None:
        until_s = time.thread_time() + _LOADING_S
        while self._files and time.thread_time() < until_s:
            is_late, _, path = self._files.popleft()
            asked = {**_STORED_NAMES, "path": path, "since_ns": self._since_ns}
            try:
                rows = self._store.query(_STORED, asked)
            except OrchwatchError as error:  # replaced or removed meanwhile
                _logger.warning("left out of the figures: %s", error)
                continue
            self._add(map(Ended._make, rows), is_late=is_late)

    def _read(self) -> None:
        read = self._reader.read
        found = segments.find(self._spool, _FAMILIES)
        for segment in found:
            offset = self._offsets.get(segment.id, 0)
            if offset >= segment.size_bytes:
                continue
            try:
                for piece, end in segments.read(segment, offset):
                    rows = (ended for line in piece.split(b"\n") for ended in read(line))
                    self._add(rows, is_late=segment.family == spool.UNDELIVERED)
                    offset = end
            except OSError:  # dropped meanwhile
                pass
            self._offsets[segment.id] = offset
        known = {segment.id for segment in found}
        self._compacted &= known
        self._closed = {segment.id for segment in found if segment.closed} - self._compacted
        self._offsets = {one: offset for one, offset in self._offsets.items() if one in known}

    def _add(self, rows: Iterable[Ended], *, is_late: bool) -> None:
        add, late, now_ns = self._window.add, self._late, time.time_ns()
        if is_late:
            rows = self._counted_once(rows)
        elif late:
            rows = (ended for ended in rows if ended.span_id not in late)
        for ended in rows:
            add(ended, now_ns)

    def _counted_once(self, rows: Iterable[Ended]) -> Iterator[Ended]:
        rows = iter(rows)
        while asked := list(islice(rows, _ASKED_AT_ONCE)):
            part = {one.span_id: one for one in asked if one.span_id not in self._late}
            self._store.refresh()
            for (span_id,) in self._store.query(_COUNTED_TOO, {"span_ids": list(part)}):
                del part[span_id]
            self._late.update(dict.fromkeys(part))
            yield from part.values()
        while len(self._late) > _MOST_LATE:
            del self._late[next(iter(self._late))]
