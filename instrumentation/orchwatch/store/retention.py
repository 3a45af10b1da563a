"""What the store lets go of: files that are too old, and the oldest of those that are too many."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from orchwatch.store.archive import Compacted
    from orchwatch.targets.config import Retention

_DAY_NS = 24 * 3600 * 1_000_000_000


class StoredFile(NamedTuple):
    """A file of the store.

    Attributes:
        modified_ns: When its last operation was recorded.
        size_bytes: What it takes.
        file: Which one it is.
    """

    modified_ns: int
    size_bytes: int
    file: Compacted


def look(files: Iterable[Compacted]) -> list[StoredFile]:
    """The files with age and size, oldest first."""
    found = []
    for file in files:
        try:
            status = file.path.stat()
        except OSError:
            continue  # replaced or dropped meanwhile
        found.append(StoredFile(status.st_mtime_ns, status.st_size, file))
    return sorted(found, key=lambda stored: (stored.modified_ns, stored.file.path))


def expired(
    files: Iterable[Compacted], in_spool: Collection[str], limits: Retention, now_ns: int
) -> list[Compacted]:
    """The files that are beyond a limit, oldest first.

    One whose segment the spool still holds is not among them: it would only be written anew. The
    spool has a budget of its own.

    Args:
        files: Those of the store.
        in_spool: The ids of the segments that the spool holds.
        limits: How long and how much is kept.
        now_ns: Unix nanoseconds.
    """
    stored = look(files)
    total_bytes = sum(each.size_bytes for each in stored)
    found = []
    for each in stored:
        too_old = limits.store_days and now_ns - each.modified_ns > limits.store_days * _DAY_NS
        too_much = limits.store_bytes and total_bytes > limits.store_bytes
        if (too_old or too_much) and each.file.id not in in_spool:
            found.append(each.file)
            total_bytes -= each.size_bytes
    return found
