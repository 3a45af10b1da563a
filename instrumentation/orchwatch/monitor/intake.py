"""Reads operations into the window: from the store at the start, then from the spool.

The spool is read line by line as it grows, whether or not it is compacted meanwhile. It is also
compacted from here, as by every reader of the store: an uncompacted spool loses its oldest lines.
What goes into the window goes into the times of call paths, too, which go on from where the process
before had read to: where the store is ahead of that, the spool still holds the difference.
"""

from __future__ import annotations

import logging
import marshal
import select
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import starmap
from typing import TYPE_CHECKING, Any

from orchwatch.monitor.ended_operations import EndedOperation, Reader
from orchwatch.recording import spool
from orchwatch.store import segments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from orchwatch.monitor.call_times import CallTimes
    from orchwatch.monitor.window import Window
    from orchwatch.store.segments import Segment

LOOK_INTERVAL_S = 5.0
_COMPACT_INTERVAL_S = 60.0
_MAX_CLOSED = 4  # segments after which compaction starts at once: the spool has a budget
# CPU time of a round where there is much to read; following continues in between.
_ROUND_S = 0.2

_FAMILIES = (spool.OPERATIONS, spool.UNDELIVERED)
# What was sent again is in both families, see `views`, and counts once.
_MAX_LATE = 50_000
# As in `worker`, which imports DuckDB.
_WORKER = "orchwatch.monitor.worker"
_LENGTH_BYTES = 4

_logger = logging.getLogger(__name__)


class Intake:
    """Reads stored operations, then new ones.

    Args:
        home: The home directory.
        window: Where operations go.
        call_times: Where spans go that are not in it yet.

    Attributes:
        is_complete: Whether all stored operations are in the window.
    """

    def __init__(self, home: Path, window: Window, call_times: CallTimes) -> None:
        self._home = home
        self._window = window
        self._call_times = call_times
        self._reader = Reader()
        # Sent again, or sent by another way: spans that wait to be counted, and that are.
        self._late: dict[str, EndedOperation] = {}
        self._counted_late: dict[str, None] = {}
        self._offsets: dict[str, int] = {}
        # Closed segments, and those of them that were compacted since.
        self._closed: set[str] = set()
        self._compacted: set[str] = set()
        self._look_at_s = self._compact_at_s = 0.0
        self._complained = False
        self._pieces = self._read()
        self._has_begun = False
        self.is_complete = False
        self._worker = self._start("load", str(window.since_ns))

    def step(self, now_s: float) -> None:
        """Reads what is due, by the monotonic clock."""
        if not self.is_complete:
            self._load()
            return
        if now_s >= self._look_at_s and self._has_read_all():
            self._look_at_s = now_s + LOOK_INTERVAL_S
        if not self._worker.has_more():
            return
        self._end_compaction()
        is_due = now_s >= self._compact_at_s and (self._closed or self._late)
        if is_due or len(self._closed) >= _MAX_CLOSED:
            self._compact_at_s = now_s + _COMPACT_INTERVAL_S
            self._compacted |= self._closed
            self._closed = set()
            self._worker = self._start("compact", spans=list(self._late))

    def close(self) -> None:
        """Ends the worker; the next process does what it has not done."""
        self._worker.kill()
        self._worker.close()

    def _start(self, *task: str, spans: Sequence[str] = ()) -> _Worker:
        try:
            return _Worker(self._home, *task, spans=spans)
        except OSError as error:  # no memory, no room for a temporary file
            worker = _Worker(None)
            worker.failure = error.strerror or str(error)
            return worker

    def _load(self) -> None:
        until_s = time.thread_time() + _ROUND_S
        while time.thread_time() < until_s and self._worker.has_more():
            frame = self._worker.take()
            if frame is None:
                self._complain_of(self._worker)
                self.is_complete = True
                return
            if not self._has_begun:
                self._offsets, self._window.durations.earlier = frame
                self._compacted = set(self._offsets)
                self._has_begun = True
                continue
            is_late, rows = frame
            if is_late:
                self._count_late(starmap(EndedOperation, rows))
            else:
                self._add(starmap(EndedOperation, rows))

    def _end_compaction(self) -> None:
        """Counts what was late, but for what was counted before."""
        asked, known = self._worker.spans, self._worker.take()
        self._worker.close()
        self._complain_of(self._worker)
        self._worker = _Worker(None)
        if known is None:
            return
        late = [self._late.pop(span_id) for span_id in asked]
        self._count_late(one for one in late if one.span_id not in known)

    def _count_late(self, rows: Iterable[EndedOperation]) -> None:
        for one in rows:
            if one.span_id not in self._counted_late:
                self._counted_late[one.span_id] = None
                self._window.add(one, time.time_ns())
        while len(self._counted_late) > _MAX_LATE:
            del self._counted_late[next(iter(self._counted_late))]

    def _complain_of(self, worker: _Worker) -> None:
        if worker.failure and not self._complained:
            self._complained = True
            _logger.warning("the store cannot be read or compacted: %s", worker.failure)

    def _has_read_all(self) -> bool:
        """Reads on, and says whether that is all that there was at the last look."""
        until_s = time.thread_time() + _ROUND_S
        for _ in self._pieces:
            if time.thread_time() >= until_s:
                return False
        self._pieces = self._read()
        return True

    def _read(self) -> Iterator[None]:
        """Takes in what is new, and lets its caller see to other things after each piece."""
        found = segments.find(self._home / "spool", _FAMILIES)
        for segment in found:
            try:
                for piece, end in self._pieces_of(segment):
                    spans = [one for line in _lines(piece) for one in self._reader.read(line)]
                    if end > self._offsets.get(segment.id, 0):
                        rows = (one for one in spans if one.is_operation)
                        if segment.family == spool.UNDELIVERED:
                            self._keep_late(rows)
                        else:
                            self._add(rows)
                        self._offsets[segment.id] = end
                    if segment.family == spool.OPERATIONS:
                        self._call_times.add(spans, segment.id, end)
                    yield
            except OSError:  # dropped meanwhile
                continue
        known = {segment.id for segment in found}
        self._offsets = {one: offset for one, offset in self._offsets.items() if one in known}
        self._call_times.looked(known)
        self._compacted &= known
        self._closed = {segment.id for segment in found if segment.closed} - self._compacted

    def _pieces_of(self, segment: Segment) -> Iterator[tuple[bytes, int]]:
        """What is new of it to the window or the call paths; first what is new to one of them."""
        offsets = [self._offsets.get(segment.id, 0)]
        if segment.family == spool.OPERATIONS:
            offsets.append(self._call_times.offset(segment.id))
        first, both = min(offsets), max(offsets)
        if first < both:
            yield from segments.read(replace(segment, size_bytes=both, closed=False), first)
        if both < segment.size_bytes:
            yield from segments.read(segment, both)

    def _keep_late(self, rows: Iterable[EndedOperation]) -> None:
        for one in rows:
            if one.span_id not in self._counted_late and len(self._late) < _MAX_LATE:
                self._late[one.span_id] = one

    def _add(self, rows: Iterable[EndedOperation]) -> None:
        add, now_ns = self._window.add, time.time_ns()
        if self._counted_late:
            rows = (one for one in rows if one.span_id not in self._counted_late)
        for one in rows:
            add(one, now_ns)


def _lines(piece: bytes) -> Iterator[bytes]:
    """Its lines one by one: a list of them would take as much memory again."""
    start = 0
    while (end := piece.find(b"\n", start)) >= 0:
        yield piece[start:end]
        start = end + 1
    if start < len(piece):
        yield piece[start:]


class _Worker:
    """A process that does what `worker` says; without a home, one that has nothing to do.

    Attributes:
        spans: The span ids that it was asked about.
        failure: The error, empty without one.
    """

    def __init__(self, home: Path | None, *task: str, spans: Sequence[str] = ()) -> None:
        self.spans = spans
        self.failure = ""
        self._process: subprocess.Popen[bytes] | None = None
        if home is None:
            return
        with tempfile.TemporaryFile() as asked:
            asked.write("\n".join(spans).encode())
            asked.seek(0)
            # Not with the working directory on its path, which may be an untrusted checkout.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _WORKER, str(home), *task],
                stdin=asked,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )

    def has_more(self) -> bool:
        """Whether `take` returns at once: there is an answer, or none will come."""
        if self._process is None:
            return True
        assert self._process.stdout is not None
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def take(self) -> Any:
        """The next answer; None where there are no more."""
        length = int.from_bytes(self._read(_LENGTH_BYTES), "big")
        data = self._read(length)
        if not length or len(data) < length:
            self.close()
            return None
        answer = marshal.loads(data)  # noqa: S302 - from this package's own process
        if isinstance(answer, str):
            self.failure = answer
            return None
        return answer

    def kill(self) -> None:
        """Ends the process at once."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """Waits for its end, after its last answer."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdout is not None
        process.stdout.close()
        if process.wait() and not self.failure:
            self.failure = f"its process ended with {process.returncode}"

    def _read(self, number: int) -> bytes:
        """Reads that many bytes, or all that are left."""
        process, found = self._process, b""
        while process is not None and len(found) < number:
            assert process.stdout is not None
            part = process.stdout.read(number - len(found))
            if not part:
                break
            found += part
        return found
