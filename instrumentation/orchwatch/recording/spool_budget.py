"""What the spool may grow to, and what goes when it has grown beyond."""

import fcntl
import os
import stat

from orchwatch.recording import files, losses

BUDGET_BYTES = 256 * 1024 * 1024
VARIABLE = "ORCHWATCH_SPOOL_BUDGET_BYTES"

_MAX_DIGITS = 18


def enforce(closed: list[tuple[bool, str]], others: list[str]) -> None:
    """Drops the oldest closed segments until all of them fit the budget, and counts their lines.

    Args:
        closed: Whether a segment may go only after all those of which that is not so, and its path.
        others: The paths of those that are written to.
    """
    budget_bytes = setting(VARIABLE, BUDGET_BYTES)
    total_bytes = sum(size_bytes for _, size_bytes in map(_look, others))
    oldest_first = []
    for later, path in closed:
        modified_ns, size_bytes = _look(path)
        total_bytes += size_bytes
        if size_bytes:
            oldest_first.append((later, modified_ns, path, size_bytes))
    for *_, path, size_bytes in sorted(oldest_first):
        if total_bytes <= budget_bytes:
            break
        if _drop(path):
            total_bytes -= size_bytes


def setting(variable: str, default: int) -> int:
    """A positive whole number from the environment; anything else is counted."""
    value = os.environ.get(variable)
    if not value:
        return default
    number = parse(value)
    if not number:
        losses.count("bad_setting")
        return default
    return number


def parse(value: str) -> int:
    """The number that a setting is; 0 where it is no positive whole number."""
    return int(value) if len(value) <= _MAX_DIGITS and value.isdecimal() else 0


def _look(path: str) -> tuple[int, int]:
    """When it was modified and its size; no size where it is gone or no file."""
    try:
        status = os.stat(path)
    except FileNotFoundError:  # another process has just dropped it
        return 0, 0
    return status.st_mtime_ns, status.st_size if stat.S_ISREG(status.st_mode) else 0


def _drop(path: str) -> bool:
    """Removes a segment that no writer has open any more."""
    try:
        with files.reader(path, links=False) as segment:
            fcntl.flock(segment, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lines = sum(line != b"\n" for line in files.lines(segment)) - 1  # the header
            losses.drop(path, max(lines, 0))
    except OSError:  # still in use, or another process was faster
        return False
    return True
