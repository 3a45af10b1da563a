"""Reads one value of a small bbolt database while its owner writes it.

A database is a B+ tree of pages, here of so few keys that each tree is one leaf. Two meta pages,
written in turn, point to its root, and a page that the newest leads to is not written again before
the other has become the newest. So a reader needs no lock: it reads, checks the meta pages again,
and starts over where they have changed.

Format: page.go, meta.go, bucket.go of go.etcd.io/bbolt, version 2.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from orchwatch.recording import files

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC, _VERSION = 0xED0CDAED, 2
_PAGE = struct.Struct("<QHHI")  # number, flags, elements, further pages that it goes on in
# Magic, version, page size, flags, root, sequence, free list, pages, transaction, checksum.
_META = struct.Struct("<IIIIQQQQQQ")
_CHECKSUM_BYTES = 8
_ELEMENT = struct.Struct("<IIII")  # flags, position, size of the key, size of the value
_BUCKET = struct.Struct("<QQ")  # root, sequence
_LEAF = 0x02
_PAGE_SIZES = (4096, 8192, 16_384, 32_768, 65_536)
# Sizes in a broken file must not fill the memory.
_MAX_BYTES = 64 * 1024 * 1024
_MAX_ATTEMPTS = 3
_HASH_START, _HASH_PRIME, _HASH_MASK = 0xCBF29CE484222325, 0x100000001B3, 0xFFFFFFFFFFFFFFFF


class _Meta(NamedTuple):
    transaction: int
    root: int
    page_bytes: int


class _UnreadableError(Exception):
    """The file does not have the expected content."""


def get(path: Path, bucket: bytes, key: bytes) -> bytes | None:
    """The value of a key, empty where there is no such key; None where nothing can be read."""
    for _ in range(_MAX_ATTEMPTS):
        try:
            with files.reader(path) as file:
                content = file.read(_MAX_BYTES)
                meta = _meta(content)
                found = _look_up(content, meta, bucket, key)
                file.seek(0)
                if _meta(file.read(2 * meta.page_bytes)) == meta:
                    return found
        except OSError:
            return None
        except (_UnreadableError, struct.error, OverflowError):
            continue  # being written, or no bbolt file
    return None


def _meta(content: bytes) -> _Meta:
    """The newer one of those that are whole."""
    found = []
    for page_bytes in _PAGE_SIZES:
        for at in (_PAGE.size, page_bytes + _PAGE.size):
            text = content[at : at + _META.size]
            if len(text) < _META.size:
                continue
            magic, version, size, _, root, _, _, _, transaction, checksum = _META.unpack(text)
            right = (magic, version, size) == (_MAGIC, _VERSION, page_bytes)
            if right and checksum == _hash(text[:-_CHECKSUM_BYTES]):
                found.append(_Meta(transaction, root, page_bytes))
    if not found:
        raise _UnreadableError
    return max(found)


def _hash(text: bytes) -> int:
    """FNV-1a of 64 bits."""
    value = _HASH_START
    for byte in text:
        value = (value ^ byte) * _HASH_PRIME & _HASH_MASK
    return value


def _look_up(content: bytes, meta: _Meta, bucket: bytes, key: bytes) -> bytes:
    found = _value(_page(content, meta, meta.root), bucket)
    if not found:
        raise _UnreadableError
    root, _ = _BUCKET.unpack_from(found)
    # The only page of a small bucket stands in its value.
    return _value(_page(content, meta, root) if root else found[_BUCKET.size :], key)


def _page(content: bytes, meta: _Meta, number: int) -> bytes:
    start = number * meta.page_bytes
    found, _, _, further = _PAGE.unpack_from(content, start)
    if found != number:
        raise _UnreadableError
    return content[start : start + (further + 1) * meta.page_bytes]


def _value(leaf: bytes, key: bytes) -> bytes:
    _, flags, count, _ = _PAGE.unpack_from(leaf)
    if not flags & _LEAF:
        raise _UnreadableError
    for number in range(count):
        at = _PAGE.size + number * _ELEMENT.size
        _, position, key_bytes, value_bytes = _ELEMENT.unpack_from(leaf, at)
        start = at + position
        if leaf[start : start + key_bytes] == key:
            return leaf[start + key_bytes : start + key_bytes + value_bytes]
    return b""
