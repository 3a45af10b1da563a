"""A file that is read as it grows, from where the last process stopped."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from orchwatch.agents.sessions.lines import is_whole
from orchwatch.recording import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PIECE_BYTES = 1024 * 1024
_HEAD_BYTES = 1024
_EDGE_BYTES = 1024


@dataclass(kw_only=True, slots=True)
class Tail:
    """How far a file has been read.

    A file is known by its first bytes and by the last ones that were read. An inode would not do:
    it is given to the next file once its own is deleted, and a file that was moved or restored from
    a backup is still the same one. One that was written to without growing was changed in place.

    Attributes:
        path: Where it lies.
        inode: Of the file that was looked at last; 0 before the first time.
        offset: Everything before was read; whole lines only.
        head_bytes: How many of its first bytes `head` stands for.
        head: Their digest.
        edge: Digest of the last bytes before `offset`.
        size_bytes: At the last look.
        modified_ns: When it was last written to, at the last look.
        restarts: How often it had to be read anew, as what was read had changed.
        too_long: Lines longer than `files.MAX_LINE_BYTES`, skipped.
        in_too_long: The next bytes belong to such a line.
    """

    path: str
    inode: int = 0
    offset: int = 0
    head_bytes: int = 0
    head: str = ""
    edge: str = ""
    size_bytes: int = 0
    modified_ns: int = 0
    restarts: int = 0
    too_long: int = 0
    in_too_long: bool = False

    @classmethod
    def restored(cls, path: str, position: Sequence[Any]) -> Self:
        """What `position` returned, in another process."""
        inode, offset, head_bytes, head, edge, size_bytes, modified_ns = position
        return cls(
            path=path,
            inode=inode,
            offset=offset,
            head_bytes=head_bytes,
            head=head,
            edge=edge,
            size_bytes=size_bytes,
            modified_ns=modified_ns,
        )

    def position(self) -> list[int | str]:
        """What has to be stored to go on from here."""
        return [
            self.inode,
            self.offset,
            self.head_bytes,
            self.head,
            self.edge,
            # What was not read yet has to look changed to the next process.
            min(self.offset, self.size_bytes),
            self.modified_ns,
        ]

    def has_changed(self, status: os.stat_result) -> bool:
        """Whether there is something to read, or another file in its place."""
        return (status.st_size, status.st_ino, status.st_mtime_ns) != (
            self.size_bytes,
            self.inode,
            self.modified_ns,
        )

    def restart(self) -> None:
        """Takes nothing as read."""
        self.offset = self.head_bytes = 0
        self.head = self.edge = ""
        self.in_too_long = False
        self.size_bytes = -1  # it has to be looked at

    def skip_to_end(self) -> None:
        """Takes what it holds by now as read."""
        try:
            file = files.descriptor(self.path)
        except OSError:
            return  # deleted since, or not ours to read
        try:
            self._recognise(file)
            self.offset = _end_of_lines(file, self.size_bytes)
            self._remember(file)
        finally:
            os.close(file)

    def pieces(self) -> Iterator[bytes]:
        """Whole lines that came since, in bounded pieces; `offset` stands behind each one given.

        A last line without its newline is still being written, and left for the next time, unless
        it is a whole record.
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
                if not piece.endswith(b"\n") and len(piece) > files.MAX_LINE_BYTES:
                    self.offset = min(files.behind_hole(file, self.offset), self.size_bytes)
                    self._remember(file)
                    self.too_long += not self.in_too_long
                    self.in_too_long = True
                    continue
                self._remember(file)
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
                return found if not self.in_too_long and is_whole(found) else b""
            wanted = min(2 * wanted, files.MAX_LINE_BYTES + 1)
            if len(found) > files.MAX_LINE_BYTES:
                return found

    def _recognise(self, file: int) -> None:
        """Looks whether this still is the file that was read so far; starts anew if it is not."""
        status = os.fstat(file)
        if self.offset and not self._is_same(file, status):
            self.restart()
            self.restarts += 1
        self.inode = status.st_ino
        self.size_bytes = status.st_size
        self.modified_ns = status.st_mtime_ns

    def _is_same(self, file: int, status: os.stat_result) -> bool:
        if status.st_size < self.offset:
            return False
        if self.modified_ns and self.modified_ns != status.st_mtime_ns:
            in_place = status.st_ino == self.inode and status.st_size == self.size_bytes
            if in_place and self.size_bytes == self.offset:
                return False
        return self.head == _digest(file, 0, self.head_bytes) and self.edge == self._edge(file)

    def _edge(self, file: int) -> str:
        start = max(0, self.offset - _EDGE_BYTES)
        return _digest(file, start, self.offset - start)

    def _remember(self, file: int) -> None:
        if self.head_bytes < min(self.offset, _HEAD_BYTES):
            self.head_bytes = min(self.offset, _HEAD_BYTES)
            self.head = _digest(file, 0, self.head_bytes)
        self.edge = self._edge(file)


def _digest(file: int, start: int, number_bytes: int) -> str:
    return hashlib.sha256(os.pread(file, number_bytes, start)).hexdigest()[:16]


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
