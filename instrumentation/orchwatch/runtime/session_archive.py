"""Old sessions put away: compressed, whole again when somebody opens them, removed when too old."""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE
from orchwatch.runtime import session_files
from orchwatch.runtime.database import Database
from orchwatch.runtime.state import StateError
from orchwatch.runtime.state_database import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_CHUNK_BYTES = 1024 * 1024
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class Retained:
    """What `retain` did.

    Attributes:
        archived: The ids of the sessions that were put away.
        removed: The ids of those whose archive was removed.
    """

    archived: tuple[str, ...]
    removed: tuple[str, ...]


def retain(
    directory: Path,
    *,
    archive_after_s: float,
    remove_after_s: float | None = None,
    max_archive_bytes: int | None = None,
) -> Retained:
    """Put away the sessions that nobody has written to for long, and remove old archives.

    A session that is open anywhere stays as it is. One that was put away opens as ever, as it was.

    Args:
        directory: `.claude/state` of the workspace.
        archive_after_s: Seconds since the last write after which a session is put away.
        remove_after_s: Seconds since the last write after which its archive is removed; None keeps
            it.
        max_archive_bytes: The archives together take no more, the oldest go first; None is no
            limit.

    Raises:
        StateError: An archive cannot be written; its session stays as it is.
    """
    put_away = []
    for path in sorted(directory.glob(f"{session_files.PREFIX}*{session_files.DATABASE}")):
        with suppress(OSError):  # removed meanwhile
            idle_s = time.time() - session_files.last_write_s(path)
            if idle_s > archive_after_s and archive(path):
                put_away.append(_id(path.stem))
    return Retained(tuple(put_away), tuple(_prune(directory, remove_after_s, max_archive_bytes)))


def archive(path: Path) -> bool:
    """Put a session away: its database compressed, its view and checkpoints removed.

    The archive is whole, checked and on disk before the session goes.

    Args:
        path: The session's database.

    Returns:
        False where it is open somewhere.

    Raises:
        StateError: The archive cannot be written; the session stays as it is.
    """
    return session_files.removed(path, lambda: _pack(path))


def unpack(path: Path) -> bool:
    """Bring a session back that was put away, unless it is there; the caller holds it in use.

    However many processes do so at once, one of them puts the file in place.

    Raises:
        StateError: Its archive is damaged, or the session cannot be written.
    """
    source = session_files.archived(path)
    if path.exists() or not source.exists():
        return False
    with _named(source), _fresh(path) as (file, temporary):
        expand = zlib.decompressobj(_GZIP)
        _copy(source, lambda chunk: files.write_all(file, expand.decompress(chunk)))
        if not expand.eof:
            raise StateError(f"{source}: torn; the session cannot be opened from it")
        os.fsync(file)
        with suppress(FileExistsError):
            os.link(temporary, path)
        _sync(path.parent)
    source.unlink(missing_ok=True)
    return True


def _pack(path: Path) -> None:
    modified_ns = int(session_files.last_write_s(path) * 1e9)
    # The last to leave writes back the log, and with that changes the file's time.
    Database(path, SCHEMA).close()
    target = session_files.archived(path)
    with _named(target):
        target.parent.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        with _fresh(target) as (file, temporary):
            shrink = zlib.compressobj(wbits=_GZIP)
            before = hashlib.sha256()

            def take(chunk: bytes) -> None:
                before.update(chunk)
                files.write_all(file, shrink.compress(chunk))

            _copy(path, take)
            files.write_all(file, shrink.flush())
            after, expand = hashlib.sha256(), zlib.decompressobj(_GZIP)
            _copy(temporary, lambda chunk: after.update(expand.decompress(chunk)))
            if after.digest() != before.digest():
                raise StateError(f"{target}: does not hold what was written to it")
            os.utime(file, ns=(modified_ns, modified_ns))
            os.fsync(file)
            temporary.replace(target)
        _sync(target.parent)


def _prune(directory: Path, remove_after_s: float | None, max_bytes: int | None) -> Iterator[str]:
    found = []
    for path in (directory / "archive").glob(f"{session_files.PREFIX}*.gz"):
        with suppress(OSError):  # opened again meanwhile
            status = path.stat()
            found.append((status.st_mtime, path, status.st_size))
    total_bytes = sum(size_bytes for _, _, size_bytes in found)
    for modified_s, path, size_bytes in sorted(found):
        too_old = remove_after_s is not None and time.time() - modified_s > remove_after_s
        if too_old or (max_bytes is not None and total_bytes > max_bytes):
            path.unlink(missing_ok=True)
            total_bytes -= size_bytes
            yield _id(path.name.partition(session_files.DATABASE)[0])


def _id(stem: str) -> str:
    return stem.removeprefix(session_files.PREFIX)


def _copy(path: Path, take: Callable[[bytes], object]) -> None:
    with files.reader(path, links=False) as file:
        while chunk := file.read(_CHUNK_BYTES):
            take(chunk)


@contextmanager
def _fresh(path: Path) -> Iterator[tuple[int, Path]]:
    """A file beside `path` to write to, which is removed where it does not take its place."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    file = files.create(temporary)
    try:
        yield file, temporary
    finally:
        os.close(file)
        temporary.unlink(missing_ok=True)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StateError(f"{path}: cannot be used: {error.strerror}") from error
    except zlib.error as error:
        raise StateError(f"{path}: damaged: {error}") from error


def _sync(path: Path) -> None:
    directory = files.directory(path)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
