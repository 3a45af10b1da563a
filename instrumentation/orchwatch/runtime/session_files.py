"""The files of a session's state: where they lie, who has them open, and when they go."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE
from orchwatch.runtime import session_paths
from orchwatch.runtime.database import Database
from orchwatch.runtime.state import StateError
from orchwatch.runtime.state_database import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator


def make_directory(root: Path) -> Path:
    """Where the sessions of a workspace lie, made where it is missing.

    Raises:
        StateError: It cannot be made.
    """
    directory = root / session_paths.STATE_DIRECTORY
    try:
        root.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        directory.parent.mkdir(exist_ok=True)
        directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    except OSError as error:
        message = f"{directory}: a session cannot be kept there: {error.strerror}"
        raise StateError(message) from error
    return directory


def use(session: Path) -> int:
    """A descriptor that says, for as long as it is open, that the session's file is in use.

    Raises:
        StateError: It cannot be opened.
    """
    return _locked(session, fcntl.LOCK_SH)


@contextmanager
def alone(session: Path) -> Iterator[bool]:
    """While nobody can open the session; False where a process has it open.

    Raises:
        StateError: It cannot be locked.
    """
    try:
        file = _locked(session, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        if not session.exists():
            # Last: a waiting process then finds that the file is another one.
            session_paths.use(session).unlink(missing_ok=True)
        os.close(file)


def _locked(session: Path, how: int) -> int:
    path = session_paths.use(session)
    while True:
        try:
            file = files.descriptor(path, os.O_RDWR | os.O_CREAT, links=False)
        except OSError as error:
            raise StateError(f"{path}: cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(file, how)
            # A process that removed the session meanwhile removed this file, too.
            if os.stat(path).st_ino == os.fstat(file).st_ino:
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def last_write_s(path: Path) -> float:
    """When a session was last written to, in Unix seconds.

    Raises:
        OSError: It is gone.
    """
    log = session_paths.write_ahead(path)
    return max(file.stat().st_mtime for file in (path, log) if file == path or file.exists())


def beside(path: Path, name: str) -> Path:
    """Where a further database of a session lies.

    Raises:
        StateError: Its directory cannot be made.
    """
    directory = session_paths.logs(path)
    try:
        directory.parent.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    except OSError as error:
        raise StateError(f"{directory}: cannot be made: {error.strerror}") from error
    return directory / f"{name}{session_paths.DATABASE}"


def databases(path: Path) -> list[Path]:
    """The databases of a session that are there: those beside its state, then that one."""
    found = session_paths.logs(path).glob(f"*{session_paths.DATABASE}")
    return [*sorted(found), *([path] if path.exists() else [])]


def removed(path: Path) -> bool:
    """Remove a session by its file, all that belongs to it included; False where it is open.

    Raises:
        StateError: It cannot be locked.
    """
    with alone(path) as is_alone:
        if is_alone:
            _remove(path)
        return is_alone


def put_away(path: Path) -> None:
    """Remove what stands in a session's archive, or is made anew; the caller is `alone`."""
    for database in databases(path):
        for file in reversed(session_paths.of_database(database)):
            file.unlink(missing_ok=True)
    session_paths.view(path).unlink(missing_ok=True)
    shutil.rmtree(session_paths.checkpoints(path), ignore_errors=True)


def forget_archive(path: Path) -> None:
    """Remove a session's archive; the caller is `alone`."""
    session_paths.archived(path).unlink(missing_ok=True)
    shutil.rmtree(session_paths.logs(path), ignore_errors=True)


def _remove(path: Path) -> None:
    put_away(path)
    forget_archive(path)


def cleanup_expired(root: str | os.PathLike[str], older_than_s: float | None = None) -> list[str]:
    """Remove the sessions that have expired and are not open.

    Args:
        root: The workspace.
        older_than_s: Also those without a write for so long, whatever they say themselves.

    Returns:
        The ids of those that were removed.
    """
    gone = []
    for path in found(Path(root) / session_paths.STATE_DIRECTORY):
        # None of ours, or gone meanwhile.
        with suppress(StateError, OSError, ValueError), alone(path) as is_alone:
            if is_alone and _has_expired(path, older_than_s):
                _remove(path)
                gone.append(session_paths.session_id(path))
    return gone


def found(directory: Path) -> list[Path]:
    """The databases of the sessions in a directory, by name."""
    return sorted(directory.glob(session_paths.database_name("*")))


def _has_expired(path: Path, older_than_s: float | None) -> bool:
    # First: closing the database writes back what a killed process has left.
    age_s = time.time() - last_write_s(path)
    limits = [each for each in (_expiry_s(path), older_than_s) if each is not None]
    return bool(limits) and age_s > min(limits)


def _expiry_s(path: Path) -> float | None:
    database = Database(path, SCHEMA)
    try:
        with database.reading() as connection:
            row = connection.execute(
                "SELECT value FROM facts WHERE name = 'expires_after_s'"
            ).fetchone()
    finally:
        database.close()
    return None if row is None else float(row[0])
