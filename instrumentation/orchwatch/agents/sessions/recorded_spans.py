"""Which spans of sessions the spool holds already, from any process."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from orchwatch.recording import files, spool
from orchwatch.recording.otlp_json import LINE_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The monitor process writes to the first, or to the second what it learns too late.
FAMILIES = (spool.OPERATIONS, spool.HISTORY)

_SPAN_ID = re.compile(rb'"spanId":"([0-9a-f]{16})"')
_LINE_END = LINE_SUFFIX.encode()


def span_ids(family: str, number: int = 0, offset: int = 0) -> Iterator[str]:
    """The ids in a family's segments.

    Args:
        family: One of `FAMILIES`.
        number: The segment to begin with.
        offset: Where in that one, in bytes.
    """
    directory = spool.make_directory()
    for found in spool.segment_numbers(directory, family):
        if found < number:
            continue
        try:
            with files.reader(spool.segment_path(directory, family, found)) as segment:
                segment.seek(offset if found == number else 0)
                for line in files.lines(segment):
                    yield from _ids(line)
        except OSError:  # dropped to keep the budget, or no file at all
            continue


class NewSpans:
    """The ids that come into families' segments from now on.

    Args:
        families: Some of `FAMILIES`.
    """

    def __init__(self, families: Sequence[str] = FAMILIES) -> None:
        self._read_to = {family: _end(family) for family in families}

    def take(self) -> Iterator[str]:
        """Those that came since the last call; to be used up before the next one."""
        for family, (number, offset) in list(self._read_to.items()):
            with suppress(OSError):  # while the spool cannot be read, nothing comes
                if _end(family) != (number, offset):
                    yield from self._take(family, number, offset)

    def skip(self, family: str, size_bytes: int) -> None:
        """Says that this process has appended that many bytes, which it need not read."""
        number, offset = self._read_to[family]
        if _end(family) == (number, offset + size_bytes):  # and nobody else did
            self._read_to[family] = (number, offset + size_bytes)

    def _take(self, family: str, number: int, offset: int) -> Iterator[str]:
        directory = spool.make_directory()
        for found in spool.segment_numbers(directory, family):
            if found < number:
                continue
            read_to = offset if found == number else 0
            try:
                with files.reader(spool.segment_path(directory, family, found)) as segment:
                    segment.seek(read_to)
                    for line in files.lines(segment):
                        yield from _ids(line)
                        if line.endswith(b"\n"):  # the rest of another one may be on its way
                            read_to = segment.tell()
            except OSError:
                continue
            self._read_to[family] = (found, read_to)


def _ids(line: bytes) -> Iterator[str]:
    if line.endswith(_LINE_END):  # not what a killed process left of one
        yield from (digits.decode() for digits in _SPAN_ID.findall(line))


def _end(family: str) -> tuple[int, int]:
    """A family's last segment, and its size in bytes."""
    directory = spool.make_directory()
    numbers = spool.segment_numbers(directory, family)
    if not numbers:
        return 0, 0
    try:
        return numbers[-1], os.path.getsize(spool.segment_path(directory, family, numbers[-1]))
    except OSError:  # dropped by now
        return numbers[-1], 0
