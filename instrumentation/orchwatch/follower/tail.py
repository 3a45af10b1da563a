"""A file that is read as it grows, from where the last process stopped."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from orchwatch import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PIECE_BYTES = 1024 * 1024
_HEAD_BYTES = 1024


@dataclass(kw_only=True, slots=True)
class Tail:
    """How far a file has been read.

    A file is told by its first bytes. An inode would not do: it is given to the next file once its
    own is deleted, and a file that was moved or restored from a backup is still the same one.

    Attributes:
        path: Where it lies.
        inode: Of the file that was looked at last; 0 before the first time.
        offset: Everything before was read; whole lines only.
        head_bytes: How many of its first bytes `head` stands for.
        head: Their digest.
        size_bytes: At the last look.
        too_long: Lines longer than `files.LONGEST_LINE_BYTES`, skipped.
        in_too_long: The next bytes belong to such a line.
    """

    path: str
    inode: int = 0
    offset: int = 0
    head_bytes: int = 0
    head: str = ""
    size_bytes: int = 0
    too_long: int = 0
    in_too_long: bool = False

    @classmethod
    def restored(cls, path: str, position: Sequence[Any]) -> Self:
        """What `position` returned, in another process."""
        inode, offset, head_bytes, head = position
        return cls(
            path=path,
            inode=inode,
            offset=offset,
            head_bytes=head_bytes,
            head=head,
            size_bytes=offset,
        )

    def position(self) -> list[int | str]:
        """What has to be stored to go on from here."""
        return [self.inode, self.offset, self.head_bytes, self.head]

    def has_changed(self, status: os.stat_result) -> bool:
        """Whether there is something to read, or another file in its place."""
        return status.st_size != self.size_bytes or status.st_ino != self.inode

    def skip_to_end(self) -> None:
        """Takes what it holds by now as read."""
        try:
            file = files.descriptor(self.path)
        except OSError:
            return  # deleted since, or not ours to read
        try:
            self._recognise(file)
            self.offset = _end_of_lines(file, self.size_bytes)
            self._remember_head(file)
        finally:
            os.close(file)

    def pieces(self) -> Iterator[bytes]:
        """Whole lines that came since, in bounded pieces; `offset` stands behind each one given.

        A last line without its newline is still being written, and left for the next time.
        """
        try:
            file = files.descriptor(self.path)
        except OSError:
            return  # deleted since, or not ours to read
        try:
            self._recognise(file)
            while self.offset < self.size_bytes:
                piece = self._next_piece(file)
                if not piece:
                    break
                self.offset += len(piece)
                self._remember_head(file)
                if not piece.endswith(b"\n"):
                    self.too_long += not self.in_too_long
                    self.in_too_long = True
                    continue
                if self.in_too_long:
                    piece = piece[piece.index(b"\n") + 1 :]
                    self.in_too_long = False
                if piece:
                    yield piece
        finally:
            os.close(file)

    def _next_piece(self, file: int) -> bytes:
        wanted = PIECE_BYTES
        while True:
            found = os.pread(file, wanted, self.offset)
            end = found.rfind(b"\n") + 1
            if end:
                return found[:end]
            if len(found) < wanted:
                return b""
            wanted = min(2 * wanted, files.LONGEST_LINE_BYTES + 1)
            if len(found) > files.LONGEST_LINE_BYTES:
                return found

    def _recognise(self, file: int) -> None:
        """Looks whether this still is the file that was read so far; starts anew if it is not."""
        status = os.fstat(file)
        if self.offset and _digest(file, self.head_bytes) != self.head:
            self.offset = self.head_bytes = 0
        elif status.st_size < self.offset:
            self.offset = _end_of_lines(file, status.st_size)
        self.inode = status.st_ino
        self.size_bytes = status.st_size

    def _remember_head(self, file: int) -> None:
        if self.head_bytes < min(self.offset, _HEAD_BYTES):
            self.head_bytes = min(self.offset, _HEAD_BYTES)
            self.head = _digest(file, self.head_bytes)


def _digest(file: int, number_bytes: int) -> str:
    return hashlib.sha256(os.pread(file, number_bytes, 0)).hexdigest()[:16]


def _end_of_lines(file: int, size_bytes: int) -> int:
    """Where the last whole line ends."""
    end = size_bytes
    while end > 0:
        start = max(0, end - PIECE_BYTES)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
