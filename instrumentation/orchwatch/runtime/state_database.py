"""The tables of the file that holds a session's state."""

from __future__ import annotations

from orchwatch.runtime.database import Schema
from orchwatch.runtime.state import StateError

SCHEMA = Schema(
    holds="state of a session",
    version=1,
    statements="""
CREATE TABLE nodes(path TEXT PRIMARY KEY, value TEXT, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE changes(
    version INTEGER, number INTEGER, kind TEXT NOT NULL, path TEXT NOT NULL,
    PRIMARY KEY(version, number)
) WITHOUT ROWID;
CREATE TABLE facts(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO facts VALUES ('version', 0), ('oldest', 0);
INSERT INTO nodes VALUES ('', NULL, 0);
""",
    error=StateError,
)
