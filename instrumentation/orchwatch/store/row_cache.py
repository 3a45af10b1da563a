"""The rows of a small store as they were parsed last, so that no command parses all lines again.

One file, `store/rows.json`: a line with a checksum, then per segment how far it was read and its
rows by columns. It is a copy of what the spool holds: a damaged one is ignored and rewritten, and
where it cannot be written, lines are parsed again.
"""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

_NAME = "rows.json"
# Version of this file's format and of the parsed columns: to be raised with either.
_VERSION = b"orchwatch rows 2"
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Parsed:
    """What was read of a segment.

    Attributes:
        offset: Up to where, in bytes.
        rows: Its rows, as plain tuples; None where something in it is odd, see `small`.
    """

    offset: int
    rows: list[tuple[Any, ...]] | None


def read(directory: Path, texts: Iterable[int], make: Callable[..., Any]) -> dict[str, Parsed]:
    """What is known of each segment, by its id; nothing where the file is not as it was written.

    Args:
        directory: The store's.
        texts: Which columns hold strings, by their place in a row.
        make: Makes a row of its values.
    """
    wanted = set(texts)
    try:
        content = files.read(directory / _NAME, _MAX_BYTES, links=False)
        head, _, body = content.partition(b"\n")
        if head != _head(body):
            return {}
        return {
            identity: Parsed(offset, None if columns is None else _rows(columns, wanted, make))
            for identity, (offset, columns) in json.loads(body).items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}


def write(directory: Path, parsed: Mapping[str, Parsed], texts: Iterable[int]) -> None:
    """Replaces the file; where that cannot be, it stays as it was."""
    wanted = set(texts)
    body = json.dumps(
        {
            identity: (one.offset, None if one.rows is None else _columns(one.rows, wanted))
            for identity, one in parsed.items()
        },
        separators=(",", ":"),
    ).encode()
    with suppress(OSError):
        directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        files.replace(directory / _NAME, b"%b\n%b" % (_head(body), body))


def remove(directory: Path) -> None:
    """Removes the file of a store that is no longer small."""
    with suppress(OSError):
        (directory / _NAME).unlink(missing_ok=True)


def _head(body: bytes) -> bytes:
    return b"%b %08x" % (_VERSION, zlib.crc32(body))


def _columns(rows: list[tuple[Any, ...]], wanted: set[int]) -> list[Any]:
    """The values by column; each string stands once, in front, and is a number where it occurs."""
    numbers: dict[str | None, int] = {}
    columns = [
        [numbers.setdefault(value, len(numbers)) for value in column] if place in wanted else column
        for place, column in enumerate(zip(*rows, strict=True))
    ]
    return [list(numbers), *columns]


def _rows(columns: list[Any], wanted: set[int], make: Callable[..., Any]) -> list[tuple[Any, ...]]:
    strings, *rest = columns
    values = [
        map(strings.__getitem__, column) if place in wanted else column
        for place, column in enumerate(rest)
    ]
    return list(map(make, zip(*values, strict=True)))
