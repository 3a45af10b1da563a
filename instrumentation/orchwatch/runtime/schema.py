"""What a file of SQLite holds, and a look into one; nothing that takes long to import."""

from __future__ import annotations

import os

from orchwatch.recording import files

try:
    # The engine alone: the package around it imports `datetime`, which takes as long again.
    import _sqlite3 as sqlite3
except ImportError:  # an interpreter other than CPython
    import sqlite3  # type: ignore[no-redef]

TYPE_CHECKING = False  # as in `state_paths`
if TYPE_CHECKING:
    from orchwatch.errors import OrchwatchError

SQLiteError = sqlite3.Error
_PAGE_BYTES = 4096
_URI_ESCAPES = (("%", "%25"), ("?", "%3f"), ("#", "%23"))


class Schema:
    """What a file holds.

    Attributes:
        holds: In words, for the error where it holds something else.
        version: Of the tables; a file of another version is refused.
        statements: SQL that makes the tables.
        error: What is raised where the file cannot be used; its message is one line.
        application_id: SQLite's number for the kind of file, so that no other kind is taken for it.
        page_bytes: What a commit writes at least, for each page of which it changes a few bytes.
    """

    __slots__ = ("application_id", "error", "holds", "page_bytes", "statements", "version")

    def __init__(
        self,
        *,
        holds: str,
        version: int,
        statements: str,
        error: type[OrchwatchError],
        application_id: int = 0,
        page_bytes: int = _PAGE_BYTES,
    ) -> None:
        self.holds = holds
        self.version = version
        self.statements = statements
        self.error = error
        self.application_id = application_id
        self.page_bytes = page_bytes


def existing(file: str | os.PathLike[str], timeout_s: float) -> sqlite3.Connection:
    """A connection to a file that is there, whatever it holds, without a lock for writers.

    Not read-only: the last to leave could not clear away SQLite's log, by whose time a session is
    dated.

    Raises:
        OSError: It is not there, or no plain file.
        sqlite3.Error: It cannot be opened.
    """
    os.close(files.descriptor(file, os.O_RDONLY, links=False))
    name = os.fspath(file)
    for letter, escape in _URI_ESCAPES:
        name = name.replace(letter, escape)
    return sqlite3.connect(
        f"file:{name}?mode=rw", uri=True, timeout=timeout_s, isolation_level=None
    )
