"""Where the files of a session lie; only what names them, so that every process can ask."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

# Source: requirements, "State Management".
STATE_DIRECTORY = ".claude/state"
NEWEST_VIEW = "orchestration.json"
PREFIX = "session-"
DATABASE = ".sqlite3"
ARCHIVED = ".gz"


def database_name(session_id: str) -> str:
    """The name of the file that holds a session's state, in the workspace's `STATE_DIRECTORY`."""
    return f"{PREFIX}{session_id}{DATABASE}"


def session_id(path: Path) -> str:
    """The session whose state a file holds, or is an archive of."""
    name = path.name.removesuffix(ARCHIVED)
    return name.removeprefix(PREFIX).removesuffix(DATABASE)


def write_ahead(path: Path) -> Path:
    """SQLite's log of what is not in a database yet."""
    return path.with_name(f"{path.name}-wal")


def view(path: Path) -> Path:
    """The JSON view of the state that `path` holds."""
    return path.with_suffix(".json")


def use(path: Path) -> Path:
    """What a process that has the session open holds locked."""
    return path.with_suffix(".use")


def checkpoints(path: Path) -> Path:
    """The directory of its checkpoints."""
    return path.parent / "checkpoints" / session_id(path)


def logs(path: Path) -> Path:
    """The directory of what else belongs to it: events, messages."""
    return path.parent / "logs" / session_id(path)


def archived(path: Path) -> Path:
    """The compressed copy of a session that was put away."""
    return path.parent / "archive" / f"{path.name}{ARCHIVED}"


def of_database(path: Path) -> tuple[Path, ...]:
    """A database, and what SQLite and its writers keep beside it."""
    shared = path.with_name(f"{path.name}-shm")
    return path, write_ahead(path), shared, path.with_suffix(".lock")
