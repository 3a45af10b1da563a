"""Which spans of sessions the spool holds already, from any process."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchwatch.recording import files, spool
from orchwatch.recording.otlp_json import LINE_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

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
                    if line.endswith(_LINE_END):  # not what a killed process left of one
                        yield from (digits.decode() for digits in _SPAN_ID.findall(line))
        except OSError:  # dropped to keep the budget, or no file at all
            continue
