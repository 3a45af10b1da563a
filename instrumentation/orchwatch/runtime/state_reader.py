"""Reads of a session's state, whose members are rows: an object's has no value, all others JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from orchwatch.runtime import state_paths
from orchwatch.runtime.state import StateError
from orchwatch.runtime.state_paths import BEHIND, SEPARATOR, Keys

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from orchwatch.runtime.state_paths import Path

Kind = Literal["set", "delete"]

FIND = "SELECT value, version FROM nodes WHERE path = ?"

MISSING = object()
"""Stands for a member that is not there."""

# Of so many members the values are read one by one; of more, the state is read as a whole.
_MAX_MEMBERS = 500


class Change(NamedTuple):
    """One member that was written or removed.

    Attributes:
        version: The state's version since then; changes of one transaction share it.
        kind: `set` or `delete`.
        path: The member, as `$.tasks.t1`; what lies below it changed with it.
    """

    version: int
    kind: Kind
    path: str


class Update(NamedTuple):
    """What a copy of the state lacks.

    Attributes:
        version: The version that it has with this.
        members: Each that was written, none below another, and its value; `MISSING` if it is gone.
    """

    version: int
    members: list[tuple[Keys, Any]]


class Reader:
    """Reads of the state at one moment."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, path: Path, default: Any = None) -> Any:
        """The member at `path`, or `default` where there is none.

        Raises:
            PathError: `path` names no member.
        """
        keys = state_paths.parse(path)
        row = self._row(keys)
        if row is None:
            return default
        value, _version = row
        return self._object(keys) if value is None else json.loads(value)

    def version(self, path: Path = "$") -> int:
        """The version that last changed the member or anything below it; 0 where there is none.

        Raises:
            PathError: `path` names no member.
        """
        keys = state_paths.parse(path)
        if not keys:
            return latest(self._connection)
        row = self._row(keys)
        if row is None:
            return 0
        highest = self._connection.execute(
            "SELECT max(version) FROM nodes WHERE path >= ? AND path < ?", below(keys)
        ).fetchone()[0]
        return max(row[1], highest or 0)

    def _row(self, keys: Keys) -> tuple[str | None, int] | None:
        found: tuple[str | None, int] | None = self._connection.execute(
            FIND, (state_paths.encode(keys),)
        ).fetchone()
        return found

    def _object(self, keys: Keys) -> dict[str, Any]:
        """Rows come parents first, so each finds its object."""
        rows = self._connection.execute(
            "SELECT path, value FROM nodes WHERE path >= ? AND path < ?", below(keys)
        ).fetchall()
        # Decoded all at once: one by one takes three times as long.
        values = self._values([value for _, value in rows if value is not None])
        top: dict[str, Any] = {}
        objects = {state_paths.encode(keys): top}
        for key, value in rows:
            parent, _, name = key.rpartition(SEPARATOR)
            if parent not in objects:
                shown = state_paths.shown(state_paths.decode(key))
                raise self._damaged(f"{shown} is below no object")
            if value is None:
                found = objects[key] = {}
            else:
                found = next(values)
            objects[parent][state_paths.decode_name(name)] = found
        return top

    def _values(self, texts: list[str]) -> Iterator[Any]:
        try:
            found = json.loads(f"[{','.join(texts)}]")
        except ValueError:
            found = []
        if len(found) != len(texts):
            raise self._damaged("a value is not JSON")
        return iter(found)

    def _damaged(self, what: str) -> StateError:
        (_, _, file) = self._connection.execute("PRAGMA database_list").fetchone()
        return StateError(f"{file}: damaged: {what}")


def changes(connection: sqlite3.Connection, path: Path, since: int) -> list[Change]:
    """What changed at, above or below `path` after version `since`, oldest first.

    Raises:
        StateError: Changes since then are no longer kept.
    """
    keys = state_paths.parse(path)
    if since < _oldest(connection) - 1:
        raise StateError(f"changes right after version {since} are no longer kept: read the state")
    found = connection.execute(
        "SELECT version, kind, path FROM changes WHERE version > ? ORDER BY version, number",
        (since,),
    )
    decoded = [(version, kind, state_paths.decode(key)) for version, kind, key in found]
    return [
        Change(version, kind, state_paths.shown(changed))
        for version, kind, changed in decoded
        if changed[: len(keys)] == keys[: len(changed)]
    ]


def update(connection: sqlite3.Connection, since: int) -> Update:
    """What the members have become that were written after version `since`; below 0, the state."""
    version = latest(connection)
    if version == since:
        return Update(version, [])
    reader = Reader(connection)
    if since < 0 or since < _oldest(connection) - 1:
        return Update(version, [((), reader.get("$"))])
    found = connection.execute("SELECT DISTINCT path FROM changes WHERE version > ?", (since,))
    written = {state_paths.decode(key) for (key,) in found}
    members = [
        keys for keys in written if not any(keys[:depth] in written for depth in range(len(keys)))
    ]
    if len(members) > _MAX_MEMBERS:
        return Update(version, [((), reader.get("$"))])
    return Update(version, [(keys, reader.get(keys, MISSING)) for keys in members])


def _oldest(connection: sqlite3.Connection) -> int:
    (oldest,) = connection.execute("SELECT min(version) FROM changes").fetchone()
    return int(oldest)


def latest(connection: sqlite3.Connection) -> int:
    """The state's version: each has a line of changes, and the last one is never pruned."""
    (version,) = connection.execute("SELECT max(version) FROM changes").fetchone()
    return int(version)


def below(keys: Keys) -> tuple[str, str]:
    """The first key of what lies below a member, and the one after the last."""
    key = state_paths.encode(keys)
    return key + SEPARATOR, key + BEHIND


def check(connection: sqlite3.Connection, name: str) -> None:
    """Hold the rows against their rules: whole pages, each row below an object, each value JSON.

    Raises:
        StateError: One is broken.
    """
    (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if said != "ok":
        raise StateError(f"{name}: damaged: {' '.join(str(said).split())}")
    objects = {row[0] for row in connection.execute("SELECT path FROM nodes WHERE value IS NULL")}
    version = latest(connection)
    for key, value, written in connection.execute("SELECT path, value, version FROM nodes"):
        if key and key.rpartition(SEPARATOR)[0] not in objects:
            raise _damaged(name, key, "is below no object")
        if written > version:
            raise _damaged(name, key, "is newer than the state")
        try:
            json.loads("0" if value is None else value)
        except ValueError:
            raise _damaged(name, key, "is not JSON") from None


def _damaged(name: str, key: str, how: str) -> StateError:
    return StateError(f"{name}: damaged: {state_paths.shown(state_paths.decode(key))} {how}")
