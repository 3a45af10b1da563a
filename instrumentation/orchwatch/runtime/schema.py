"""What a file of SQLite holds, and a look into one; nothing that takes long to import."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from orchwatch.recording import files

if TYPE_CHECKING:
    from orchwatch.errors import OrchwatchError

_PAGE_BYTES = 4096
_URI_ESCAPES = (("%", "%25"), ("?", "%3f"), ("#", "%23"))


class Schema(NamedTuple):
    """What a file holds.

    Attributes:
        holds: In words, for the error where it holds something else.
        version: Of the tables; a file of another version is refused.
        statements: SQL that makes the tables.
        error: What is raised where the file cannot be used; its message is one line.
        application_id: SQLite's number for the kind of file, so that no other kind is taken for it.
        page_bytes: What a commit writes at least, for each page of which it changes a few bytes.
    """

    holds: str
    version: int
    statements: str
    error: type[OrchwatchError]
    application_id: int = 0
    page_bytes: int = _PAGE_BYTES


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
