"""Rollouts that Codex no longer writes to, and has compressed with Zstandard."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Any, BinaryIO

from orchwatch.agents.sessions.lines import LineFile
from orchwatch.recording import files

if TYPE_CHECKING:
    from collections import Counter

SUFFIX = ".zst"
MISSING = "compressed: pip install 'orchwatch[codex]' to read them"
_DAMAGED = "unreadable end of a compressed file"
_CHUNK_BYTES = 1 << 10  # four of them may stand for 128 KiB: all is in memory at once
_MAX_BYTES = 8 << 30  # of one file, plain: more was written by no agent


def library() -> Any:
    """The library, None where it is not installed."""
    try:
        import zstandard  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    return zstandard


def head(path: str, size_bytes: int) -> bytes:
    """The first bytes of a compressed file, as many as can be had; empty without the library.

    Raises:
        OSError: It cannot be read.
    """
    zstandard = library()
    if zstandard is None:
        return b""
    with files.reader(path) as packed:
        try:
            found: bytes = zstandard.ZstdDecompressor().stream_reader(packed).read(size_bytes)
        except zstandard.ZstdError:
            return b""
    return found


class CompressedLines(LineFile):
    """The lines of a compressed file; what cannot be decompressed is counted."""

    def __init__(self, path: str, skipped: Counter[str]) -> None:
        super().__init__(path, skipped)
        self._plain: BinaryIO | None = None

    def peek(self) -> bool:
        if library() is None:
            self._skipped[MISSING] = 1
            return False
        found = super().peek()
        if not found and self._plain is not None:
            self._plain.close()
            self._plain = None
        return found

    def _opened(self) -> BinaryIO:
        if self._plain is None:
            self._plain = self._unpacked()
        return os.fdopen(os.dup(self._plain.fileno()), "rb")

    def _unpacked(self) -> BinaryIO:
        zstandard = library()
        plain: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - for as long as lines are taken
        unpacker = zstandard.ZstdDecompressor().decompressobj()
        with files.reader(self._path) as packed:
            rest = b""
            try:
                while chunk := rest or packed.read(_CHUNK_BYTES):
                    if unpacker.eof:
                        unpacker = zstandard.ZstdDecompressor().decompressobj()
                    plain.write(unpacker.decompress(chunk))
                    rest = unpacker.unused_data if unpacker.eof else b""
                    if plain.tell() > _MAX_BYTES:
                        break
            except zstandard.ZstdError:
                pass
        if plain.tell() > _MAX_BYTES:
            self._skipped[f"more than {_MAX_BYTES >> 30} GiB in a compressed file"] += 1
        elif not unpacker.eof:
            self._skipped[_DAMAGED] += 1
        plain.flush()
        return plain
