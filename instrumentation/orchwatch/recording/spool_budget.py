"""The spool's size limit, and which segments are dropped to keep it."""

import fcntl
import os
import stat

from orchwatch.recording import files, losses

BUDGET_BYTES = 256 * 1024 * 1024
VARIABLE = "ORCHWATCH_SPOOL_BUDGET_BYTES"

_MAX_DIGITS = 18


def enforce(first: list[str], then: list[str], kept: list[str]) -> None:
    """Drops closed segments until all segments fit the budget, and counts their lines.

    Args:
        first: The paths of closed segments, of which the oldest go first.
        then: The same for those that go when none of `first` is left.
        kept: The paths of the segments that are written to: they count, and stay.
    """
    budget_bytes = setting(VARIABLE, BUDGET_BYTES)
    total_bytes = sum(size_bytes for _, size_bytes in map(_look, kept))
    droppable = []
    for closed in (first, then):
        oldest_first = sorted((*_look(path), path) for path in closed)
        total_bytes += sum(size_bytes for _, size_bytes, _ in oldest_first)
        droppable += [segment for segment in oldest_first if segment[1]]
    for _, size_bytes, path in droppable:
        if total_bytes <= budget_bytes:
            break
        if _drop(path):
            total_bytes -= size_bytes


def setting(variable: str, default: int) -> int:
    """A positive int from the environment; anything else is counted."""
    value = os.environ.get(variable)
    if not value:
        return default
    number = parse(value)
    if not number:
        losses.count("bad_setting")
        return default
    return number


def parse(value: str) -> int:
    """The value of a setting; 0 if it is not a positive int."""
    return int(value) if len(value) <= _MAX_DIGITS and value.isdecimal() else 0


def _look(path: str) -> tuple[int, int]:
    """Its modification time and size; size 0 if it is gone or not a file."""
    try:
        status = os.stat(path)
    except FileNotFoundError:  # another process has just dropped it
        return 0, 0
    return status.st_mtime_ns, status.st_size if stat.S_ISREG(status.st_mode) else 0


def _drop(path: str) -> bool:
    """Removes a segment that no writer has open."""
    try:
        with files.reader(path, links=False) as segment:
            fcntl.flock(segment, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lines = sum(line != b"\n" for line in files.lines(segment)) - 1  # the header
            losses.drop(path, max(lines, 0))
    except OSError:  # still in use, or another process was faster
        return False
    return True
