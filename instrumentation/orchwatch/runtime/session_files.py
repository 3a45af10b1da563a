"""The files of a session's state: where they lie, who has them open, and when they go."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from pathlib import Path

from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE
from orchwatch.runtime.database import Database
from orchwatch.runtime.state import StateError
from orchwatch.runtime.state_database import SCHEMA

STATE_DIRECTORY = Path(".claude", "state")


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


def removed(path: Path) -> bool:
    """Remove a session by its file; False where a process has it open.

    Raises:
        StateError: It cannot be opened.
    """
    use_path = _use_path(path)
    file = use(path)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for ending in (".sqlite3", ".sqlite3-wal", ".sqlite3-shm", ".lock", ".json"):
            path.with_suffix(ending).unlink(missing_ok=True)
        name = path.stem.removeprefix("session-")
        shutil.rmtree(path.parent / "checkpoints" / name, ignore_errors=True)
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
    for path in sorted((Path(root) / STATE_DIRECTORY).glob("session-*.sqlite3")):
        try:
            limit_s = _expiry_s(path)
            age_s = time.time() - max(
                file.stat().st_mtime for file in (path, Path(f"{path}-wal")) if file.exists()
            )
        except (StateError, OSError, ValueError):
            continue  # none of ours, or gone meanwhile
        limits = [each for each in (limit_s, older_than_s) if each is not None]
        if limits and age_s > min(limits) and removed(path):
            gone.append(path.stem.removeprefix("session-"))
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
