"""The records of several files, in the order of their times, with memory for one line of each."""

from __future__ import annotations

import heapq
import json
import os
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from orchwatch.agents.sessions import records
from orchwatch.agents.sessions.fields import time_ns
from orchwatch.recording import files

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Sequence

MAX_LINE_BYTES = files.MAX_LINE_BYTES
UNREAD = "unread for now: "
"""How the reasons begin for which what is there could not be read, but may be at another time."""


class Source(Protocol):
    """The records of one file, in turn; `LineFile` where it holds lines of JSON.

    Attributes:
        time_ns: About when the record was written that is next in turn.
    """

    time_ns: int

    def peek(self) -> bool:
        """Reads the next records; False at the end."""

    def take(self) -> tuple[list[dict[str, Any]], int]:
        """What `peek` has read, and its bytes."""

    def close(self) -> None:
        """Closes the file; `peek` opens it again where it was."""


class LineFile:
    """Reads one file from its start; open only while lines are taken from it.

    Attributes:
        offset: Where the line begins that is next in turn; everything before is dealt with.
        time_ns: About when that line was written: the one before where it does not say.
    """

    def __init__(self, path: str, skipped: Counter[str]) -> None:
        self.offset = 0
        self.time_ns = 0
        self._path = path
        self._skipped = skipped
        self._stream: BinaryIO | None = None
        self._next_offset = 0
        self._records: list[dict[str, Any]] = []

    def peek(self) -> bool:
        """Reads the next line; False at the end, or where only half a line is left."""
        if self._stream is None:
            try:
                self._stream = self._opened()
            except OSError as error:
                is_gone = isinstance(error, FileNotFoundError) and not os.path.exists(self._path)
                if not is_gone:
                    self._skipped[f"{UNREAD}file"] += 1
                return False
            self._stream.seek(self.offset)
        while True:
            line = self._stream.readline(MAX_LINE_BYTES)
            if not line.endswith(b"\n"):
                if len(line) == MAX_LINE_BYTES:
                    self._pass_over(len(line))
                    continue
                if not is_whole(line):
                    self._skipped["half-written last line"] += bool(line.strip())
                    self.close()
                    return False
            break
        self._records = records.parse(line, self._skipped)
        self._next_offset = self.offset + len(line)
        for record in self._records:
            found = time_ns(record.get("timestamp"))
            if found:
                self.time_ns = found
                break
        return True

    def take(self) -> tuple[list[dict[str, Any]], int]:
        """The records that `peek` has read, which then count as dealt with, and their bytes."""
        size_bytes = self._next_offset - self.offset
        self.offset = self._next_offset
        return self._records, size_bytes

    def close(self) -> None:
        """Closes the file; `peek` opens it again at `offset`."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _opened(self) -> BinaryIO:
        return files.reader(self._path)

    def _pass_over(self, size_bytes: int) -> None:
        """Skips a line that is too long, to its end."""
        assert self._stream is not None
        self._skipped["longer than 64 MiB"] += 1
        start = self.offset + size_bytes
        behind = files.behind_hole(self._stream.fileno(), start)
        self._stream.seek(behind)
        size_bytes += behind - start
        while True:
            part = self._stream.readline(MAX_LINE_BYTES)
            size_bytes += len(part)
            if not part or part.endswith(b"\n"):
                break
        self.offset += size_bytes


def merged(files: Sequence[Source]) -> Iterator[int]:
    """The index of the file whose line is next in time; the caller must `take` it."""
    if len(files) == 1:
        while files[0].peek():
            yield 0
        return
    waiting = []
    for index, file in enumerate(files):
        if file.peek():
            waiting.append((file.time_ns, index))
            file.close()
    heapq.heapify(waiting)
    while waiting:
        _, index = waiting[0]
        yield index
        if files[index].peek():
            heapq.heapreplace(waiting, (files[index].time_ns, index))
        else:
            heapq.heappop(waiting)


def is_unread(skipped: Iterable[str]) -> bool:
    """Whether one of these reasons says that something has to be read again."""
    return any(why.startswith(UNREAD) for why in skipped)


def size_bytes(path: str) -> int:
    """A file's size, 0 where it is gone."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def is_whole(line: bytes) -> bool:
    """Whether the last line lacks nothing but its newline."""
    if not line.rstrip().endswith(b"}"):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
