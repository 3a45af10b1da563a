"""The spool: OTLP/JSON lines on disk, written by any number of processes at once.

A family of segments is `<family>-000001.jsonl`, `<family>-000002.jsonl`, … in the spool directory.
Only the highest number of a family is ever opened for writing, and every process that has it open
holds a shared lock on it; so a segment is closed for good when a higher one exists and an exclusive
lock can be taken. The kernel drops the locks of a killed process.

One `write(2)` with `O_APPEND` adds whole lines. A process killed in the middle of one leaves a
partial line; the next writer sees that the file does not end in a newline and starts with one. A
writer that had looked before the partial line appeared finds out afterwards and writes its line
again, so that nothing but the partial line is lost.
"""

import errno
import fcntl
import os
import time
from _thread import RLock

from orchwatch.recording import files, losses, spool_budget
from orchwatch.recording.home import DIRECTORY_MODE, spool_directory

OPERATIONS = "operations"  # counted, and stored as traces
UNDELIVERED = "undelivered"  # could not be sent over OTLP: stored as traces, counted by its sender
HISTORY = "history"  # imported past: stored as traces, not counted as happening now
METRICS = "metrics"  # counters and gauges of short processes
HOOKS = "hooks"  # events of an agent's hooks, for the monitor process and not for the Collector
EVENTS = "events"  # the event stream: alerts as log records, not for the Collector either
FAMILIES = (OPERATIONS, UNDELIVERED, HISTORY, METRICS, HOOKS, EVENTS)

SEGMENT_BYTES = 8 * 1024 * 1024

# What makes a segment's header valid OTLP/JSON, by family; spans by default.
_EMPTY_PAYLOADS = {METRICS: ',"resourceMetrics":[]', HOOKS: "", EVENTS: ',"resourceLogs":[]'}
_SUFFIX = ".jsonl"
_RETRY_INTERVAL_S = 1.0
_LOOK_INTERVAL_S = 1.0
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OPEN_FLAGS = os.O_RDWR | os.O_APPEND


class _ShortWriteError(OSError):
    """The disk was full before everything was written.

    Attributes:
        lines: How many were written completely.
    """

    def __init__(self, lines: int) -> None:
        super().__init__(errno.ENOSPC, "short write")
        self.lines = lines


class Spool:
    """Appends to one family of segments. Use the module's `append`: one instance per family."""

    def __init__(self, family: str) -> None:
        self._family = family
        self._segment = -1  # file descriptor
        self._file = (0, 0)  # its device and inode
        self._path = ""
        self._next_look = 0.0  # when to check that it still lies there
        self._end = 0  # where our last write left the file
        self._home: str | None = None  # ORCHWATCH_HOME when the segment was opened
        self._limit_bytes = SEGMENT_BYTES
        self._failure = ""  # the reason why nothing can be written before _retry_at
        self._retry_at = 0.0
        # Re-entrant: a signal handler may record an operation while this very thread is in here.
        self._lock = RLock()

    def append(self, lines: bytes, number: int = 1) -> bool:
        """Appends whole lines in one write; a failure is counted, never raised.

        Args:
            lines: OTLP/JSON, each line ended by a newline.
            number: How many operations they hold, for the ledger of losses; 0 where a failure
                loses nothing, because their sender sends them again.
        """
        with self._lock:
            try:
                home = os.environ.get("ORCHWATCH_HOME")
                if self._segment < 0 or self._home != home:
                    waits = self._home == home and time.monotonic() < self._retry_at
                    if self._failure and waits:
                        losses.count(self._failure, number)
                        return False
                    self._home = home
                    self._open()
                self._write(lines)
            except OSError as error:
                if losses.is_hosts(error):  # a time limit may be an OSError too
                    raise
                self.close()
                self._failure = "disk_full" if error.errno in _NO_SPACE else "spool_unwritable"
                self._retry_at = time.monotonic() + _RETRY_INTERVAL_S
                fitted = error.lines if isinstance(error, _ShortWriteError) else 0
                losses.count(self._failure, max(number - fitted, 0))
                return False
            return True

    def close(self) -> None:
        """Closes the segment; the next append opens the highest one again."""
        with self._lock:
            segment, self._segment = self._segment, -1
            if segment >= 0 and self._is_ours(segment):
                os.close(segment)

    def _is_ours(self, segment: int) -> bool:
        """Whether the descriptor still refers to the segment.

        A host that closes all descriptors gets the number again for a file of its own.
        """
        try:
            status = os.fstat(segment)
        except OSError as error:
            if losses.is_hosts(error):
                raise
            return False
        return (status.st_dev, status.st_ino) == self._file

    def _write(self, lines: bytes) -> None:
        try:
            status = os.fstat(self._segment)
            ours = (status.st_dev, status.st_ino) == self._file
        except OSError as error:
            if losses.is_hosts(error):
                raise
            ours = False
        full = not ours or status.st_size >= self._limit_bytes
        if full or status.st_nlink == 0 or self._is_elsewhere():
            self._open()
            status = os.fstat(self._segment)
        size = status.st_size
        # Only another process's write can have left a partial line, so the usual case costs no
        # read.
        if size not in (0, self._end) and os.pread(self._segment, 1, size - 1) != b"\n":
            lines = b"\n" + lines
        start = self._write_whole(lines)
        if start > size and b"\n" not in (lines[:1], os.pread(self._segment, 1, start - 1)):
            self._write_whole(b"\n" + lines)  # a killed process has just left a partial line

    def _is_elsewhere(self) -> bool:
        """Whether readers would miss what is written here: the directory was moved, say."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + _LOOK_INTERVAL_S
        try:
            status = os.stat(self._path)
        except OSError as error:
            if losses.is_hosts(error):
                raise
            return True
        return (status.st_dev, status.st_ino) != self._file

    def _write_whole(self, lines: bytes) -> int:
        """Writes them and returns the offset where they start; 0 if that is unknown."""
        self._end = 0
        _write_all(self._segment, lines)
        end = os.lseek(self._segment, 0, os.SEEK_CUR)
        if self._end:  # a signal handler has written in between
            return 0
        self._end = end
        return end - len(lines)

    def _open(self) -> None:
        """Opens the family's highest segment, or makes the next one when that is full."""
        self.close()
        directory = make_directory()
        limit_bytes = spool_budget.setting("ORCHWATCH_SPOOL_SEGMENT_BYTES", SEGMENT_BYTES)
        while True:
            numbers = segment_numbers(directory, self._family)
            highest = numbers[-1] if numbers else 0
            path = segment_path(directory, self._family, highest)
            segment = _join(path, limit_bytes)
            if segment >= 0:
                break
            path = segment_path(directory, self._family, highest + 1)
            segment = _create(path, self._family)
            if segment >= 0:
                if highest:
                    _enforce_budget(directory)
                break
        self.close()  # a signal handler may have opened one in the meantime
        status = os.fstat(segment)
        self._segment = segment
        self._file = (status.st_dev, status.st_ino)
        self._path = path
        self._next_look = time.monotonic() + _LOOK_INTERVAL_S
        self._limit_bytes = limit_bytes
        self._end = 0
        self._failure = ""


_spools = {family: Spool(family) for family in FAMILIES}


def append(family: str, lines: bytes, number: int = 1) -> bool:
    """Appends whole lines to a family's open segment; see `Spool.append`."""
    return _spools[family].append(lines, number)


def make_directory() -> str:
    """The spool's directory, created if missing."""
    directory = spool_directory()
    os.makedirs(os.path.dirname(directory), DIRECTORY_MODE, exist_ok=True)
    os.makedirs(directory, DIRECTORY_MODE, exist_ok=True)
    return directory


def segment_path(directory: str, family: str, number: int) -> str:
    """The path of a segment."""
    return f"{directory}/{family}-{number:06d}{_SUFFIX}"


def segment_numbers(directory: str, family: str) -> list[int]:
    """The numbers of the segments that exist, ascending."""
    start, end = len(family) + 1, -len(_SUFFIX)
    return sorted(
        int(name[start:end])
        for name in os.listdir(directory)
        if name.startswith(f"{family}-") and name.endswith(_SUFFIX) and name[start:end].isdecimal()
    )


def _join(path: str, limit_bytes: int) -> int:
    """Opens a segment that exists and is not full; -1 if another one has to be used."""
    try:
        segment = files.descriptor(path, _OPEN_FLAGS, links=False)
    except (FileNotFoundError, files.NotRegularError):
        return -1
    try:
        fcntl.flock(segment, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:  # a process is about to drop it
        os.close(segment)
        return -1
    status = os.fstat(segment)
    if status.st_size < limit_bytes and status.st_nlink:
        return segment
    os.close(segment)
    return -1


def _create(path: str, family: str) -> int:
    """Creates a segment; -1 if another process was faster.

    Its first line holds nothing but an id: the Collector identifies files by their first bytes.
    The segment gets its name when that line is in it, so no other process can write first.
    """
    directory = os.path.dirname(path)
    payload = _EMPTY_PAYLOADS.get(family, ',"resourceSpans":[]')
    name = os.path.basename(path)[: -len(_SUFFIX)]
    segment_id = os.urandom(16).hex()
    header = f'{{"orchwatch":{{"segment":"{name}","id":"{segment_id}"}}{payload}}}\n'.encode()
    unnamed = f"{directory}/.{segment_id}"
    segment = files.descriptor(unnamed, _OPEN_FLAGS | os.O_CREAT | os.O_EXCL, links=False)
    try:
        fcntl.flock(segment, fcntl.LOCK_SH)
        _write_all(segment, header)
        os.link(unnamed, path)
    except FileExistsError:
        os.close(segment)
        return -1
    except OSError:
        os.close(segment)
        raise
    finally:
        os.unlink(unnamed)
    return segment


def _write_all(segment: int, lines: bytes) -> None:
    size_bytes = os.write(segment, lines)
    if size_bytes != len(lines):
        # The first may be empty: it ends a partial line of another process.
        raise _ShortWriteError(lines[:size_bytes].lstrip(b"\n").count(b"\n"))


def _enforce_budget(directory: str) -> None:
    """Drops closed segments until the spool fits its budget.

    Imported history goes first: it can be imported again, and must not displace current operations.
    """
    history: list[str] = []
    current: list[str] = []
    open_ = []
    for family in FAMILIES:
        *earlier, highest = segment_numbers(directory, family) or [0]
        closed = history if family == HISTORY else current
        closed += [segment_path(directory, family, number) for number in earlier]
        open_.append(segment_path(directory, family, highest))
    spool_budget.enforce(history, current, open_)


def _after_fork() -> None:
    # Another thread may have held the lock when the process forked. The child opens the segment
    # anew: one that never writes must not keep its parent's from ever being closed.
    for spool in _spools.values():
        spool._lock = RLock()
        spool.close()


os.register_at_fork(after_in_child=_after_fork)
