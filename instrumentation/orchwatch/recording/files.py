"""Opening and replacing files, safely even if something else has been put in their place.

A pipe where a plain file belongs makes `open` wait for ever, a device may never end, and a file of
gigabytes fills the memory of a host that wanted a setting. So everything here opens regular files
only, never waits, hands nothing on to a child process, and reads no more than the caller's limit.

Nothing else in this package opens a file (tests/unit/test_openers.py).
"""

from __future__ import annotations

import errno
import os
import stat

from orchwatch.recording.home import FILE_MODE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    StrPath = str | os.PathLike[str]

MAX_LINE_BYTES = 64 * 1024 * 1024
"""A longer line was not written by this package, and is never held in memory as a whole."""

# Not waiting matters where a pipe takes the file's place after it was looked at.
_ALWAYS = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_CHUNK_BYTES = 64 * 1024


class NotRegularError(OSError):
    """A pipe, a device, a directory, a socket, or a link where none may be."""

    def __init__(self, path: StrPath, mode: int) -> None:
        kind = _KINDS.get(stat.S_IFMT(mode), "a special file")
        super().__init__(errno.EINVAL, f"it is {kind}, not a file", os.fspath(path))


class TooLargeError(OSError):
    """A file that is larger than any valid one."""

    def __init__(self, path: StrPath, max_bytes: int) -> None:
        super().__init__(errno.EFBIG, f"it holds more than {max_bytes} bytes", os.fspath(path))


_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a symbolic link",
}


def descriptor(path: StrPath, flags: int = os.O_RDONLY, *, links: bool = True) -> int:
    """Opens a regular file; a new one is the user's alone.

    Args:
        path: Where it lies.
        flags: As `os.open` takes them.
        links: Whether the file may be a symbolic link to a regular file. Not where the package
            keeps its own files.

    Raises:
        NotRegularError: Something else stands there; it was not opened.
        OSError: It cannot be opened.
    """
    # Opening a pipe wakes the process that waits at its other end, and opening a device may rewind
    # a tape.
    try:
        mode = os.stat(path, follow_symlinks=links).st_mode
    except FileNotFoundError:
        if not flags & os.O_CREAT:
            raise
    except ValueError as error:  # a zero byte, or half of a surrogate pair
        raise OSError(errno.EINVAL, "not a valid file name", os.fspath(path)) from error
    else:
        if not stat.S_ISREG(mode):
            raise NotRegularError(path, mode)
    file = os.open(path, flags | _ALWAYS | (0 if links else os.O_NOFOLLOW), FILE_MODE)
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        os.close(file)
        raise NotRegularError(path, mode)
    return file


def reader(path: StrPath, *, links: bool = True) -> BinaryIO:
    """Opens a regular file to be read piece by piece; see `descriptor`."""
    return os.fdopen(descriptor(path, links=links), "rb")


def read(path: StrPath, max_bytes: int, *, links: bool = True) -> bytes:
    """All that a regular file holds.

    Raises:
        NotRegularError: Something else stands there.
        TooLargeError: It holds more than `max_bytes`.
        OSError: It cannot be read.
    """
    file = descriptor(path, links=links)
    try:
        # What /proc holds has no size before it is read.
        if os.fstat(file).st_size > max_bytes:
            raise TooLargeError(path, max_bytes)
        chunks = []
        room_bytes = max_bytes
        while chunk := os.read(file, _CHUNK_BYTES):
            room_bytes -= len(chunk)
            if room_bytes < 0:
                raise TooLargeError(path, max_bytes)
            chunks.append(chunk)
    finally:
        os.close(file)
    return b"".join(chunks)


def directory(path: StrPath) -> int:
    """Opens a directory, to lock it or to have its entries survive a power cut.

    Raises:
        OSError: It is not a directory, or cannot be opened.
    """
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | _ALWAYS)


def lines(file: BinaryIO, max_bytes: int = MAX_LINE_BYTES) -> Iterator[bytes]:
    """The lines of an open file; a longer one is cut after `max_bytes`, with no newline."""
    while line := file.readline(max_bytes):
        yield line
        if len(line) == max_bytes and not line.endswith(b"\n"):
            file.seek(behind_hole(file.fileno(), file.tell()))
            while (rest := file.readline(_CHUNK_BYTES)) and not rest.endswith(b"\n"):
                pass


def behind_hole(file: int, offset: int) -> int:
    """Where data begins at or after an offset; the offset itself where that is unknown.

    A sparse file of gigabytes takes seconds to read, and nothing stands in it.
    """
    before = os.lseek(file, 0, os.SEEK_CUR)
    try:
        return os.lseek(file, offset, os.SEEK_DATA)
    except OSError as error:
        return os.fstat(file).st_size if error.errno == errno.ENXIO else offset
    finally:
        os.lseek(file, before, os.SEEK_SET)


def create(path: StrPath) -> int:
    """Makes a file for writing that did not exist; a killed process's leftover is removed first.

    Raises:
        OSError: It cannot be made.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return descriptor(path, flags, links=False)
    except (FileExistsError, NotRegularError):
        os.unlink(path)
        return descriptor(path, flags, links=False)


def replace(
    path: StrPath,
    content: bytes,
    *,
    mode: int = FILE_MODE,
    owner: tuple[int, int] | None = None,
    sync: bool = False,
) -> None:
    """Replaces a file as a whole: a reader sees the old one or the new one.

    A link or a pipe in its place is replaced too, not written through. Only one thread of a process
    may replace a file at a time.

    Args:
        path: Where it lies.
        content: The new content.
        mode: Its permission bits.
        owner: Its user and group, where they are not this process's own.
        sync: Whether it must survive a power cut.

    Raises:
        OSError: It cannot be written, and is as it was.
    """
    temporary = f"{os.fspath(path)}.{os.getpid()}.tmp"
    file = create(temporary)
    try:
        try:
            if owner is not None:
                os.fchown(file, *owner)
            os.fchmod(file, mode)
            write_all(file, content)
            if sync:
                os.fsync(file)
        finally:
            os.close(file)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def writer_into(path: StrPath) -> int:
    """A descriptor of a pipe or a device that is there, after waiting for a pipe's reader.

    Raises:
        OSError: It cannot be written, or nothing is there.
    """
    return os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)


def write_into(path: StrPath, content: bytes) -> None:
    """Writes into such a one.

    Raises:
        OSError: It cannot be written, or nothing is there.
    """
    file = writer_into(path)
    try:
        write_all(file, content)
    finally:
        os.close(file)


def write_all(file: int, content: bytes) -> None:
    """Writes everything to a descriptor.

    Raises:
        OSError: The disk is full, or it cannot be written.
    """
    left = memoryview(content)
    while left:
        left = left[os.write(file, left) :]
