"""The spool's segments as a reader sees them: which there are, which are closed, what they hold."""

from __future__ import annotations

import fcntl
import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from orchwatch.recording import spool
from orchwatch.recording.files import MAX_LINE_BYTES, behind_hole, reader

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

SPAN_FAMILIES = (spool.OPERATIONS, spool.UNDELIVERED, spool.HISTORY)

_NAME = re.compile(r"([a-z]+)-(\d+)\.jsonl")
_ID = re.compile(r"[0-9a-f]{32}")
_HEADER_BYTES = 4096
_CHUNK_BYTES = 2 * 1024 * 1024
# Of a line that is too long.
_CUT_BYTES = 1024


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A segment as it was when it was listed.

    Attributes:
        path: Its path; it may have been removed since.
        family: One of `spool.FAMILIES`.
        number: Its number within the family, counting up.
        id: Unique among all segments there ever were.
        size_bytes: Its size.
        modified_ns: When it was last written to, in Unix nanoseconds.
        closed: Whether it will get no more lines.
    """

    path: Path
    family: str
    number: int
    id: str
    size_bytes: int
    modified_ns: int
    closed: bool

    @property
    def name(self) -> str:
        """Family and number, e.g. `operations-000001`."""
        return self.path.stem


def find(directory: Path, families: Collection[str] = SPAN_FAMILIES) -> list[Segment]:
    """The segments of these families, by default those that hold spans, oldest first in each.

    Each id comes once: of two files with one id (one is a copy) the longer counts.
    """
    try:
        files = os.listdir(directory)
    except OSError:
        return []
    matches = filter(None, map(_NAME.fullmatch, files))
    numbered = sorted(
        (match[1], int(match[2]), match[0]) for match in matches if match[1] in families
    )
    highest = {family: number for family, number, _ in numbered}
    found: dict[str, Segment] = {}
    for family, number, file in numbered:
        segment = _look(directory / file, family, number, highest=number == highest[family])
        if segment is None:
            continue
        known = found.get(segment.id)
        if known is None or known.size_bytes < segment.size_bytes:
            found[segment.id] = segment
    return list(found.values())


def size_bytes(directory: Path, families: Collection[str] = SPAN_FAMILIES) -> int:
    """How large the segments of these families are together; none of them is opened."""
    found = 0
    with suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            match = _NAME.fullmatch(entry.name)
            if match and match[1] in families:
                with suppress(OSError):  # dropped meanwhile
                    found += entry.stat().st_size
    return found


def read(segment: Segment, start: int) -> Iterator[tuple[bytes, int]]:
    """Whole lines from an offset on, in bounded pieces, each with the offset behind it.

    What follows the last newline is left for the next time while the segment is open (a process is
    writing it); in a closed one it is what a killed writer left, and comes last.

    Raises:
        OSError: The segment is gone or cannot be read.
    """
    with reader(segment.path) as file:
        file.seek(start)
        end = start
        rest: list[bytes] = []  # of a line whose end is not found yet
        while end < segment.size_bytes:
            chunk = file.read(min(_CHUNK_BYTES, segment.size_bytes - end))
            if not chunk:
                break
            end += len(chunk)
            lines, newline, tail = chunk.rpartition(b"\n")
            if newline:
                start = end - len(tail)
                yield b"".join([*rest, lines, newline]), start
                rest = [tail]
                continue
            rest.append(chunk)
            if end - start > MAX_LINE_BYTES:
                # No memory should hold it: its start stands for it, as one unreadable line.
                start = end = min(behind_hole(file.fileno(), end), segment.size_bytes)
                file.seek(end)
                yield rest[0][:_CUT_BYTES] + b"\n", start
                rest = []
        if start < end and segment.closed:
            yield b"".join(rest), end


def _look(path: Path, family: str, number: int, *, highest: bool) -> Segment | None:
    try:
        with reader(path) as file:
            closed = not highest and _released(file.fileno())
            status = os.fstat(file.fileno())
            header = file.readline(_HEADER_BYTES)
            identity = _id(header)
            if identity is None:
                # A writer killed in its very first write: the content identifies the file.
                identity = _digest(file, status.st_size)
    except OSError:
        return None
    return Segment(
        path=path,
        family=family,
        number=number,
        id=identity,
        size_bytes=status.st_size,
        modified_ns=status.st_mtime_ns,
        closed=closed,
    )


def _id(header: bytes) -> str | None:
    try:
        identity = json.loads(header)["orchwatch"]["id"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return None
    return identity if isinstance(identity, str) and _ID.fullmatch(identity) else None


def _digest(file: BinaryIO, size_bytes: int) -> str:
    """Of both ends and the size: whatever changes it changes one of them."""
    import hashlib  # noqa: PLC0415 - slow, and hardly ever needed

    file.seek(0)
    content = file.read(_HEADER_BYTES)
    file.seek(max(size_bytes - _CHUNK_BYTES, 0))
    content += file.read(_CHUNK_BYTES)
    return hashlib.sha256(b"%d %b" % (size_bytes, content)).hexdigest()[:32]


def _released(file: int) -> bool:
    """Whether no writer has it open. The lock is released at once, so no writer waits for it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True


def latest_lines(home: Path, family: str, *, since_ns: int, most: int) -> Iterator[bytes]:
    """The lines of segments that were written to since then, the oldest first.

    Args:
        home: The home directory.
        family: Which segments.
        since_ns: In Unix nanoseconds; segments may begin earlier.
        most: How many bytes are read; of more, the oldest are left out.
    """
    recent = [one for one in find(home / "spool", (family,)) if one.modified_ns >= since_ns]
    skipped = max(0, sum(one.size_bytes for one in recent) - most)
    for segment in recent:
        start = min(skipped, segment.size_bytes)
        skipped -= start
        try:
            for piece, _ in read(segment, start):
                yield from piece.splitlines()
        except OSError:
            continue  # dropped meanwhile
