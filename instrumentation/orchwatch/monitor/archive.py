"""The store's Parquet files: one for each closed segment of the spool.

The name says all a reader has to know before it opens one, and appears by a rename, so a file is
there whole or not at all: `<segment>.<segment id>.<bytes of the segment>.<unreadable>.parquet`.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchwatch.files import descriptor, reader
from orchwatch.home import DIRECTORY_MODE, FILE_MODE
from orchwatch.monitor.segments import SPAN_FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchwatch.monitor import engine
    from orchwatch.monitor.segments import Segment

_NAME = re.compile(
    rf"(?P<segment>(?P<family>{'|'.join(SPAN_FAMILIES)})-\d+)"
    r"\.(?P<id>[0-9a-f]{32})\.(?P<bytes>\d+)\.(?P<unreadable>\d+)\.parquet"
)
_TEMPORARY_SUFFIX = ".tmp"
_MAGIC = b"PAR1"

# Version 2 has delta encoding: times take 3.5 bytes instead of 8.
_COPY = """
COPY (SELECT * EXCLUDE (segment, family) FROM spool WHERE segment = $segment ORDER BY end_ns)
TO $path (FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd, USE_TMP_FILE false)
"""


@dataclass(frozen=True, kw_only=True)
class Compacted:
    """A file of the store.

    Attributes:
        path: Where it lies.
        segment: Name of the segment it was made from.
        family: That segment's family.
        id: That segment's id.
        source_bytes: How much of the segment it holds.
        unreadable: How many lines or spans of the segment could not be read.
    """

    path: Path
    segment: str
    family: str
    id: str
    source_bytes: int
    unreadable: int


def find(directory: Path) -> dict[str, Compacted]:
    """The files of the store by segment id, oldest segment first.

    Where one segment was compacted twice (a writer was late) the file that holds more of it counts.
    """
    found: dict[str, Compacted] = {}
    try:
        files = sorted(os.listdir(directory))
    except OSError:
        return found
    for file in files:
        match = _NAME.fullmatch(file)
        if match is None or not _whole(directory / file):
            continue
        compacted = Compacted(
            path=directory / file,
            segment=match["segment"],
            family=match["family"],
            id=match["id"],
            source_bytes=int(match["bytes"]),
            unreadable=int(match["unreadable"]),
        )
        known = found.get(compacted.id)
        if known is None or known.source_bytes < compacted.source_bytes:
            found[compacted.id] = compacted
    return found


@contextmanager
def exclusively(directory: Path) -> Iterator[bool]:
    """Whether this process may compact: not while another does, or where it cannot write."""
    try:
        directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        lock = descriptor(directory / "lock", os.O_RDWR | os.O_CREAT, links=False)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        # Only the holder of the lock writes, so what lies here half-made is a killed one's.
        for leftover in directory.glob("*" + _TEMPORARY_SUFFIX):
            with suppress(OSError):  # of a directory, which is nobody's
                leftover.unlink()
        yield True
    finally:
        os.close(lock)


def write(
    connection: engine.Connection, directory: Path, segment: Segment, unreadable: int
) -> Compacted:
    """Writes what the table `spool` holds of a segment; the caller holds the lock.

    Raises:
        OSError: It could not be written.
        engine.Error: It could not be written.
    """
    name = f"{segment.name}.{segment.id}.{segment.size_bytes}.{unreadable}.parquet"
    path = directory / name
    temporary = directory / (name + _TEMPORARY_SUFFIX)
    connection.execute(_COPY, {"segment": segment.id, "path": str(temporary)})
    file = descriptor(temporary, os.O_RDWR, links=False)
    try:
        os.fchmod(file, FILE_MODE)
        # Its age is that of its operations, whenever somebody came to compact them.
        os.utime(file, ns=(segment.modified_ns, segment.modified_ns))
        # The spool may drop the segment from now on: the file must survive a power cut.
        os.fsync(file)
    finally:
        os.close(file)
    temporary.replace(path)
    return Compacted(
        path=path,
        segment=segment.name,
        family=segment.family,
        id=segment.id,
        source_bytes=segment.size_bytes,
        unreadable=unreadable,
    )


def _whole(path: Path) -> bool:
    """Whether the file ends as a Parquet file does; a power cut can leave an empty one."""
    try:
        with reader(path, links=False) as file:
            file.seek(-len(_MAGIC), os.SEEK_END)
            return file.read() == _MAGIC
    except OSError:
        return False
