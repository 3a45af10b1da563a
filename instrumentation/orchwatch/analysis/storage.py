"""What orchwatch keeps on disk: the spool, what it was compacted into, and sessions.

The home directory holds more, the data of Prometheus and Tempo for one: they have caps of their
own and say nothing about how much is recorded.
"""

from __future__ import annotations

import errno
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

DAY_NS = 24 * 3600 * 1_000_000_000

_KEPT = ("spool", "store", "sessions")
# Of files that follow one another; in sessions a number says nothing about when.
_NUMBERED = re.compile(r"((?:spool|store)/[a-z]+)-\d+\.")


class _File(NamedTuple):
    family: str
    modified_ns: int
    size_bytes: int


def size_bytes(home: Path) -> int | None:
    """Bytes of all that is kept; None where nothing ever was.

    Raises:
        OSError: A directory cannot be read.
    """
    files = _files(home)
    return sum(file.size_bytes for file in files) if files else None


def growth_bytes(home: Path, now_ns: int) -> float | None:
    """Bytes that were written in the last 24 hours and are still there; None as above.

    Nothing is extrapolated: of a home that is younger than a day it is the whole size. A segment
    that was begun earlier counts by the share of its time that falls into them; it was begun when
    its predecessor was last written to. Once the spool has reached its budget it drops as much as
    it writes, and this is what it writes.

    Raises:
        OSError: A directory cannot be read.
    """
    files = _files(home)
    if not files:
        return None
    begun_ns: dict[str, int] = {}
    written = 0.0
    for family, modified_ns, size in sorted(files):
        start_ns = begun_ns.get(family, modified_ns)
        begun_ns[family] = modified_ns
        recent_ns = modified_ns - max(start_ns, now_ns - DAY_NS)
        if recent_ns >= 0:
            share = recent_ns / (modified_ns - start_ns) if modified_ns > start_ns else 1.0
            written += size * share
    return written


def _refuse(error: OSError) -> None:
    """A directory that cannot be read is not an empty one."""
    if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        raise error


def _files(home: Path) -> list[_File]:
    found = []
    for kept in _KEPT:
        for directory, _, names in os.walk(home / kept, onerror=_refuse):
            for name in names:
                path = os.path.join(directory, name)
                relative = os.path.relpath(path, home)
                numbered = _NUMBERED.match(relative)
                with suppress(OSError):  # dropped or compacted meanwhile
                    status = os.lstat(path)
                    family = numbered[1] if numbered else relative
                    found.append(_File(family, status.st_mtime_ns, status.st_size))
    return found
