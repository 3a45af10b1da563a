"""The files of a session's state: where they lie, who has them open, and when they go."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE
from orchwatch.runtime.database import Database
from orchwatch.runtime.state import StateError
from orchwatch.runtime.state_database import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable

STATE_DIRECTORY = Path(".claude", "state")
PREFIX = "session-"
DATABASE = ".sqlite3"


def make_directory(root: Path) -> Path:
    """Where the sessions of a workspace lie, made where it is missing.

    Raises:
        StateError: It cannot be made.
    """
    directory = root / STATE_DIRECTORY
    try:
        root.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        directory.parent.mkdir(exist_ok=True)
        directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    except OSError as error:
        message = f"{directory}: a session cannot be kept there: {error.strerror}"
        raise StateError(message) from error
    return directory


def _use_path(path: Path) -> Path:
    return path.with_suffix(".use")


def use(session: Path) -> int:
    """A descriptor that says, for as long as it is open, that the session's file is in use.

    Raises:
        StateError: It cannot be opened.
    """
    path = _use_path(session)
    while True:
        try:
            file = files.descriptor(path, os.O_RDWR | os.O_CREAT, links=False)
        except OSError as error:
            raise StateError(f"{path}: cannot be opened: {error.strerror}") from error
        fcntl.flock(file, fcntl.LOCK_SH)
        # A process that removed the session meanwhile removed this file, too.
        try:
            if os.stat(path).st_ino == os.fstat(file).st_ino:
                return file
        except FileNotFoundError:
            pass
        os.close(file)


def last_write_s(path: Path) -> float:
    """When a session was last written to, in Unix seconds.

    Raises:
        OSError: It is gone.
    """
    log = path.with_suffix(f"{DATABASE}-wal")
    return max(file.stat().st_mtime for file in (path, log) if file == path or file.exists())


def archived(path: Path) -> Path:
    """Where the compressed copy of a session that was put away lies."""
    return path.parent / "archive" / f"{path.name}.gz"


def _directory_beside(path: Path) -> Path:
    return path.parent / "logs" / path.stem.removeprefix(PREFIX)


def beside(path: Path, name: str) -> Path:
    """Where a further database of a session lies.

    Raises:
        StateError: Its directory cannot be made.
    """
    directory = _directory_beside(path)
    try:
        directory.parent.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
    except OSError as error:
        raise StateError(f"{directory}: cannot be made: {error.strerror}") from error
    return directory / f"{name}{DATABASE}"


def removed(path: Path, before: Callable[[], object] | None = None) -> bool:
    """Remove a session by its file, its archive with it; False where a process has it open.

    Args:
        path: The session's file.
        before: Called first, while nobody can open the session, instead of the removal of its
            archive; what it raises keeps the session.

    Raises:
        StateError: It cannot be opened.
    """
    use_path = _use_path(path)
    file = use(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if before is None:
            archived(path).unlink(missing_ok=True)
        else:
            before()
        for ending in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", ".lock", ".json"):
            path.with_suffix(ending).unlink(missing_ok=True)
        name = path.stem.removeprefix(PREFIX)
        shutil.rmtree(path.parent / "checkpoints" / name, ignore_errors=True)
        if before is None:
            shutil.rmtree(_directory_beside(path), ignore_errors=True)
        use_path.unlink(missing_ok=True)  # last: a waiting process then finds nothing
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def cleanup_expired(root: str | os.PathLike[str], older_than_s: float | None = None) -> list[str]:
    """Remove the sessions that have expired and are not open.

    Args:
        root: The workspace.
        older_than_s: Also those without a write for so long, whatever they say themselves.

    Returns:
        The ids of those that were removed.
    """
    gone = []
    for path in sorted((Path(root) / STATE_DIRECTORY).glob(f"{PREFIX}*{DATABASE}")):
        try:
            # In use meanwhile: otherwise it could be put away while this has its database open.
            file = use(path)
            try:
                # First: closing the database writes back what a killed process has left.
                age_s = time.time() - last_write_s(path)
                limit_s = _expiry_s(path)
            finally:
                os.close(file)
        except (StateError, OSError, ValueError):
            continue  # none of ours, or gone meanwhile
        limits = [each for each in (limit_s, older_than_s) if each is not None]
        if limits and age_s > min(limits) and removed(path):
            gone.append(path.stem.removeprefix(PREFIX))
    return gone


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
