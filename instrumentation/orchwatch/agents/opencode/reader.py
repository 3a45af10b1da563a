"""Where opencode keeps its sessions, and which of them belong together."""

from __future__ import annotations

import glob
import hashlib
import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch.agents.opencode import rows
from orchwatch.agents.opencode.conversation import Conversation
from orchwatch.agents.reader import Reader, RecordedSession, SessionFile
from orchwatch.agents.sessions.databases import MAGIC, Rows, connect
from orchwatch.agents.sessions.fields import count, moment_ns, project_name, text
from orchwatch.recording import files

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Mapping

    from orchwatch.agents.sessions.claims import Claims
    from orchwatch.agents.sessions.lines import Source

_MAX_DEPTH = 64
_TABLES = {
    "session": {"id", "parent_id", "directory", "version", "time_created", "time_updated"},
    "message": {"id", "session_id", "time_created", "time_updated", "data"},
    "part": {"id", "message_id", "session_id", "time_created", "time_updated", "data"},
}
# Of version 2: who has what is known, and what its messages hold is not.
_NEWER_TABLES = {
    "session_v2": _TABLES["session"],
    "session_message": {"id", "session_id", "time_created", "time_updated", "data"},
}
_NEWER_SESSIONS = "SELECT id, parent_id, directory, time_created, time_updated FROM session_v2"
_NEWER_MESSAGES = """
SELECT session_id, count(*), max(time_updated) FROM session_message GROUP BY session_id
"""
# A session whose own row is damaged is known by its messages.
_SESSIONS = """
SELECT s.id, s.parent_id, s.directory, s.time_created, s.time_updated FROM session AS s
UNION ALL
SELECT DISTINCT m.session_id, NULL, NULL, NULL, NULL FROM message AS m
WHERE NOT EXISTS (SELECT 1 FROM session WHERE id = m.session_id)
"""
_MESSAGES = "SELECT session_id, count(*), max(time_updated) FROM message GROUP BY session_id"
_PARTS = "SELECT session_id, count(*) FROM part GROUP BY session_id"
_EVENTS = "SELECT aggregate_id, seq FROM event_sequence"


class _Row(NamedTuple):
    session_id: str
    parent_id: str
    directory: str
    began_ns: int
    written_ns: int
    stamp: str


class OpenCode(Reader):
    """Reads the databases `opencode*.db` in `~/.local/share/opencode`, or `OPENCODE_DB`.

    A session that another one has started is a sub-agent of that one. A database is read while it
    is written to; a session is as it was at one moment. What version 2 keeps is counted, not read.
    """

    name = "opencode"
    title = "opencode"
    suffixes = (".db",)
    knows = "1.18.33"

    def places(self) -> list[str]:
        data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
        home = os.path.abspath(os.path.join(data, "opencode"))
        named = os.environ.get("OPENCODE_DB")
        if named:
            return [os.path.join(home, named)]
        found = glob.glob(os.path.join(glob.escape(home), "opencode*.db"))
        return sorted(found) or [os.path.join(home, "opencode.db")]

    def find(self, paths: Iterable[str]) -> tuple[list[RecordedSession], list[str]]:
        recorded: list[RecordedSession] = []
        strange = []
        for path in paths:
            try:
                found = _sessions(path)
            except (OSError, sqlite3.Error):
                found = None
            if found is None:
                strange.append(path)
            else:
                recorded += found
        return sorted(recorded, key=lambda one: (one.began_ns, one.session_id)), strange

    def file_reader(
        self,
        session: RecordedSession,
        file: SessionFile,
        claims: Claims,
        state: dict[str, Any] | None = None,
    ) -> Conversation:
        return Conversation(session.session_id, file.agent_id, claims, state)

    def source(self, file: SessionFile, skipped: Counter[str]) -> Source:
        return Rows(lambda: rows.read(file.path, file.identity, skipped))


def _sessions(path: str) -> list[RecordedSession] | None:
    """The sessions of a database, None if it is not opencode's."""
    with files.reader(path) as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            return None
    with closing(connect(path)) as connection:
        connection.text_factory = rows.decoded
        is_newer = _has(connection, _NEWER_TABLES)
        if not (is_newer or _has(connection, _TABLES)):
            return None
        found = (
            {row.session_id: row for row in _listed(connection, _NEWER_SESSIONS, _NEWER_MESSAGES)}
            if is_newer
            else {}
        )
        if _has(connection, _TABLES):
            found |= {row.session_id: row for row in _read(connection)}
    trees: dict[str, list[_Row]] = {}
    for row in found.values():
        trees.setdefault(_root(row, found), []).append(row)
    size_bytes = os.stat(path).st_size
    return [_recorded(path, root, tree, size_bytes) for root, tree in trees.items()]


def _has(connection: sqlite3.Connection, tables: Mapping[str, set[str]]) -> bool:
    for table, columns in tables.items():
        there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if not columns <= there:
            return False
    return True


def _read(connection: sqlite3.Connection) -> list[_Row]:
    try:
        written = dict(connection.execute(_EVENTS).fetchall())
    except sqlite3.Error:  # older ones have no such table
        written = {}
    parts = dict(connection.execute(_PARTS).fetchall())
    return [
        row._replace(stamp=f"{row.stamp}{parts.get(row.session_id)}/{written.get(row.session_id)}")
        for row in _listed(connection, _SESSIONS, _MESSAGES)
    ]


def _listed(connection: sqlite3.Connection, sessions: str, messages: str) -> list[_Row]:
    of_session = {row[0]: row[1:] for row in connection.execute(messages)}
    return [
        _Row(
            session_id=session_id,
            parent_id=text(parent_id),
            directory=text(directory),
            began_ns=moment_ns(created),
            written_ns=max(map(moment_ns, (updated, *of_session.get(session_id, ())[1:]))),
            stamp=f"{count(updated)}{of_session.get(session_id)}",
        )
        for session_id, parent_id, directory, created, updated in connection.execute(sessions)
        if text(session_id)
    ]


def _root(row: _Row, found: Mapping[str, _Row]) -> str:
    for _ in range(_MAX_DEPTH):
        parent = found.get(row.parent_id)
        if parent is None:
            break
        row = parent
    return row.session_id


def _recorded(path: str, root: str, tree: list[_Row], size_bytes: int) -> RecordedSession:
    tree.sort(key=lambda row: (row.session_id != root, row.began_ns, row.session_id))
    stamps = "\n".join(f"{row.session_id} {row.stamp}" for row in tree)
    # One for all: a session is read as a whole when any of its sub-agents has gone on.
    version = hashlib.blake2b(stamps.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return RecordedSession(
        session_id=root,
        project=project_name(tree[0].directory),
        files=tuple(
            SessionFile(
                path=path,
                agent_id=None if row.session_id == root else row.session_id,
                identity=row.session_id,
                size_bytes=0 if number else size_bytes,
                version=version,
            )
            for number, row in enumerate(tree)
        ),
        began_ns=tree[0].began_ns,
        written_ns=max(row.written_ns for row in tree),
    )
