"""What changed in a session's state since a version, and whether its rows keep their rules."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from orchwatch.runtime import state_paths
from orchwatch.runtime.state import StateError
from orchwatch.runtime.state_paths import SEPARATOR
from orchwatch.runtime.state_reader import MISSING, Reader, latest

if TYPE_CHECKING:
    import sqlite3

    from orchwatch.runtime.state_paths import Keys, Path

Kind = Literal["set", "delete"]

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


def _oldest(connection: sqlite3.Connection) -> int:
    (oldest,) = connection.execute("SELECT min(version) FROM changes").fetchone()
    return int(oldest)


def _damaged(name: str, key: str, how: str) -> StateError:
    return StateError(f"{name}: damaged: {state_paths.shown(state_paths.decode(key))} {how}")
