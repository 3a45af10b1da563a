"""The file that holds a session's state."""

from __future__ import annotations

from orchwatch.runtime.schema import Schema
from orchwatch.runtime.state import StateError

# So many versions of changes are kept for those who follow them.
KEPT_VERSIONS = 10_000
_PRUNE_INTERVAL = 1_000

# The first trigger makes the most frequent write, of a value in the place of another, one
# statement: each step of a transaction costs about as much as the write itself. That write is a
# version of its own, so its line is the version's first; to look would cost a fifth of it.
SCHEMA = Schema(
    holds="state of a session",
    version=2,
    page_bytes=1024,
    statements=f"""
CREATE TABLE nodes(path TEXT PRIMARY KEY, value TEXT, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE changes(
    version INTEGER, number INTEGER, kind TEXT NOT NULL, path TEXT NOT NULL,
    PRIMARY KEY(version, number)
) WITHOUT ROWID;
CREATE TABLE facts(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TRIGGER replaced AFTER UPDATE OF value ON nodes WHEN NEW.version > OLD.version BEGIN
    INSERT INTO changes VALUES (NEW.version, 0, 'set', NEW.path);
END;
CREATE TRIGGER pruned AFTER INSERT ON changes
WHEN NEW.number = 0 AND NEW.version % {_PRUNE_INTERVAL} = 0 BEGIN
    DELETE FROM changes WHERE version <= NEW.version - {KEPT_VERSIONS};
END;
INSERT INTO changes VALUES (0, 0, 'set', '');
INSERT INTO nodes VALUES ('', NULL, 0);
""",  # noqa: S608 - the numbers above
    error=StateError,
)
