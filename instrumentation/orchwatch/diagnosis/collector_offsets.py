"""How far the Collector has read the spool, from its own stored offsets.

Its `file_storage` extension has a bbolt database for each receiver. Under `knownFiles` lies a
protobuf message with each file's first bytes and the offset behind what was read (checkpoint.proto
of the Collector's pkg/stanza, 0.158). There is no metric of it.

It is written after each round over the files, when all that was there has been handed on: while the
Collector catches up with much, or waits for a full queue, all of that still counts as unread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from orchwatch.diagnosis import bbolt
from orchwatch.recording.home import home

if TYPE_CHECKING:
    from collections.abc import Iterator

DIRECTORY_VARIABLE = "ORCHWATCH_COLLECTOR_STATE_DIR"

# The receivers are `otlp_json_file/<family>`.
_DATABASE = "receiver_otlpjsonfile_"
_BUCKET, _KEY = b"default", b"knownFiles"
# Of MetadataList, Metadata and Fingerprint.
_FILES, _FINGERPRINT, _OFFSET, _FIRST_BYTES = 1, 1, 2, 1
_MORE = 0x80  # in a byte of a number: another one follows
# Wire types of protobuf: a number, eight bytes, a length with as many bytes, four bytes.
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5


def directory() -> Path:
    """Where the Collector keeps its state: by its own variable, else the native stack's."""
    explicit = os.environ.get(DIRECTORY_VARIABLE)
    return Path(explicit) if explicit else Path(home(), "stack", "collector")


def read(family: str) -> dict[bytes, int] | None:
    """The offset in bytes that each segment of a family is read to, by its first line.

    None where that cannot be seen: no Collector has followed this family, or it keeps its state in
    another place or form.
    """
    known = bbolt.get(directory() / f"{_DATABASE}{family}", _BUCKET, _KEY)
    if known is None:
        return None
    try:
        return dict(_offset(file) for number, file in _fields(known) if number == _FILES)
    except (LookupError, TypeError, ValueError):
        return None


def first_line(content: bytes) -> bytes:
    """The part of a segment's first bytes that identifies it."""
    return content.partition(b"\n")[0]


def _offset(file: bytes | int) -> tuple[bytes, int]:
    # A number that is 0 is left out.
    found = {_OFFSET: 0, **dict(_fields(file))}
    fingerprint, offset = dict(_fields(found[_FINGERPRINT])), found[_OFFSET]
    content = fingerprint[_FIRST_BYTES]
    if not isinstance(content, bytes) or not isinstance(offset, int):
        raise TypeError
    return first_line(content), offset


def _fields(message: bytes | int) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of each field of a protobuf message."""
    if not isinstance(message, bytes):
        raise TypeError
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_EIGHT, _FOUR):
            size = 8 if kind == _EIGHT else 4
        else:
            raise ValueError
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number, and where it ends: seven bits a byte, the lowest first."""
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & ~_MORE) << shift
        if not byte & _MORE:
            return value, at
        shift += 7
