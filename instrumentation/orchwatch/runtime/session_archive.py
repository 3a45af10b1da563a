"""Old sessions put away: compressed, whole again when somebody opens them, removed when too old."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
import zlib
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE
from orchwatch.recording.operation import operation
from orchwatch.runtime import session_files, session_paths
from orchwatch.runtime.schema import existing
from orchwatch.runtime.state import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_CHUNK_BYTES = 1024 * 1024
_DAY_S = 24 * 3600.0
# Its time says when the workspace was last looked through.
_LAST_FILE = "retention.last"
_INTERVAL_S = 3600.0
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
    for path in session_files.found(directory):
        with suppress(FileNotFoundError):  # removed meanwhile
            if _idle_s(path) > archive_after_s and archive(path, archive_after_s):
                put_away.append(session_paths.session_id(path))
    return Retained(tuple(put_away), tuple(_prune(directory, remove_after_s, max_archive_bytes)))


def retain_as_configured(directory: Path) -> Retained | None:
    """Do what the person's `[retention]` asks for, once an hour for a workspace.

    Args:
        directory: `.claude/state` of the workspace.

    Returns:
        What was done; None where it was not due, or there is one session alone.

    Raises:
        OrchwatchError: The person's file breaks a rule, or an archive cannot be written.
        OSError: The directory cannot be written.
    """
    due = directory / _LAST_FILE
    with suppress(FileNotFoundError):
        if 0 <= time.time() - due.stat().st_mtime < _INTERVAL_S:
            return None
    if len(session_files.found(directory)) + len(_archives(directory)) <= 1:
        return None  # the one that was just used
    files.replace(due, b"")
    # Slow, and due seldom.
    from orchwatch.targets import config  # noqa: PLC0415

    kept = config.load().retention
    with operation(semconv.SESSION_RETENTION) as op:
        expired = session_files.cleanup_expired(directory.parent.parent)
        found = Retained((), ())
        if kept.session_idle_days:
            found = retain(
                directory,
                archive_after_s=kept.session_idle_days * _DAY_S,
                remove_after_s=kept.session_days * _DAY_S or None,
                max_archive_bytes=int(kept.session_bytes) or None,
            )
        found = Retained(found.archived, (*expired, *found.removed))
        op.set_attribute(semconv.SESSIONS_ARCHIVED, len(found.archived))
        op.set_attribute(semconv.SESSIONS_REMOVED, len(found.removed))
        return found


def archive(path: Path, idle_s: float | None = None) -> bool:
    """Put a session away: its databases compressed, its view and checkpoints removed.

    The archive is whole, checked and on disk before the session goes.

    Args:
        path: The session's database.
        idle_s: Only if nobody has written to it for so many seconds.

    Returns:
        False where it is open somewhere, or was written to meanwhile.

    Raises:
        StateError: The archive cannot be written; the session stays as it is.
        FileNotFoundError: There is no such session.
    """
    with session_files.alone(path) as is_alone:
        # Again: it could be opened, written to and closed since the caller has looked.
        if not is_alone or (idle_s is not None and _idle_s(path) <= idle_s):
            return False
        modified_ns = int(session_files.last_write_s(path) * 1e9)
        for database in session_files.databases(path):
            _pack(database, modified_ns)
        session_files.put_away(path)
    return True


def unpack(path: Path) -> bool:
    """Bring a session back that was put away, unless it is there; the caller holds it in use.

    However many processes do so at once, one of them puts the file in place.

    Raises:
        StateError: Its archive is damaged, or the session cannot be written.
    """
    logs = session_paths.archived(session_paths.logs(path) / "any").parent
    beside = [] if not logs.is_dir() else sorted(logs.glob(f"*{session_paths.ARCHIVED}"))
    # A kill may have left part of them here and part in the archive.
    for source in beside:
        _unpack(logs.parent / source.name.removesuffix(session_paths.ARCHIVED), source)
    return _unpack(path, session_paths.archived(path))


def _unpack(path: Path, source: Path) -> bool:
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


def _idle_s(path: Path) -> float:
    return time.time() - session_files.last_write_s(path)


def _pack(path: Path, modified_ns: int) -> None:
    """Write a database's archive, dated as the session is."""
    target = session_paths.archived(path)
    with _named(target):
        _write_back(path)
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


def _write_back(path: Path) -> None:
    """What a killed process has left in SQLite's log belongs into the file."""
    try:
        with closing(existing(path, 0.0)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise StateError(f"{path}: {error}") from error


def _prune(directory: Path, remove_after_s: float | None, max_bytes: int | None) -> Iterator[str]:
    found = []
    for archived in _archives(directory):
        path = directory / archived.name.removesuffix(session_paths.ARCHIVED)
        with suppress(OSError):  # opened again meanwhile
            status = archived.stat()
            beside = session_paths.logs(path).rglob(f"*{session_paths.ARCHIVED}")
            size_bytes = status.st_size + sum(file.stat().st_size for file in beside)
            found.append((status.st_mtime, path, size_bytes))
    total_bytes = sum(size_bytes for _, _, size_bytes in found)
    for modified_s, path, size_bytes in sorted(found):
        too_old = remove_after_s is not None and time.time() - modified_s > remove_after_s
        if not too_old and (max_bytes is None or total_bytes <= max_bytes):
            continue
        with session_files.alone(path) as is_alone:
            if not is_alone or path.exists():  # opened again meanwhile
                continue
            session_files.forget_archive(path)
        total_bytes -= size_bytes
        yield session_paths.session_id(path)


def _archives(directory: Path) -> list[Path]:
    name = f"{session_paths.database_name('*')}{session_paths.ARCHIVED}"
    return list((directory / "archive").glob(name))


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
