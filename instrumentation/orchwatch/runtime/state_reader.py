"""Reads of a session's state, whose members are rows: an object's has no value, all others JSON."""

from __future__ import annotations

from orchwatch.recording import json_text
from orchwatch.runtime import state_paths
from orchwatch.runtime.state import StateError
from orchwatch.runtime.state_paths import BEHIND, SEPARATOR

TYPE_CHECKING = False  # as in `state_paths`
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from typing import Any

    from orchwatch.runtime.state_paths import Keys, Path

FIND = "SELECT value, version FROM nodes WHERE path = ?"

MISSING = object()
"""Stands for a member that is not there."""


class Reader:
    """Reads of the state at one moment."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def get(self, path: Path, default: Any = None) -> Any:
        """The member at `path`, or `default` where there is none.

        Raises:
            PathError: `path` names no member.
        """
        found = self.part(state_paths.parse(path), None)
        return default if found is MISSING else found

    def part(self, keys: Keys, names: tuple[str, ...] | None) -> Any:
        """The member with these names, or `MISSING`.

        Args:
            keys: Its names.
            names: What it is read without, but for objects, arrays, what has one of these names and
                what is below that; None reads all of it.
        """
        row = self._row(keys)
        if row is None:
            return MISSING
        return json_text.loads(row[0]) if row[0] is not None else self._object(keys, names)

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

    def _object(self, keys: Keys, names: tuple[str, ...] | None) -> dict[str, Any]:
        """Rows come parents first, so each finds its object."""
        statement = "SELECT path, value FROM nodes WHERE path >= ? AND path < ?"
        sought = [state_paths.encode((name,)) + SEPARATOR for name in names or ()]
        if names is not None:
            named = f"instr(path || '{SEPARATOR}', ?) OR " * len(sought)
            # The last is true of an array's JSON alone.
            statement += f" AND ({named}value IS NULL OR value >= '[' AND value < '\\')"
        rows = self._connection.execute(statement, (*below(keys), *sought)).fetchall()
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
            found = json_text.loads(f"[{','.join(texts)}]")
        except ValueError:
            found = []
        if len(found) != len(texts):
            raise self._damaged("a value is not JSON")
        return iter(found)

    def _damaged(self, what: str) -> StateError:
        (_, _, file) = self._connection.execute("PRAGMA database_list").fetchone()
        return StateError(f"{file}: damaged: {what}")


def latest(connection: sqlite3.Connection) -> int:
    """The state's version: each has a line of changes, and the last one is never pruned."""
    (version,) = connection.execute("SELECT max(version) FROM changes").fetchone()
    return int(version)


def below(keys: Keys) -> tuple[str, str]:
    """The first key of what lies below a member, and the one after the last."""
    key = state_paths.encode(keys)
    return key + SEPARATOR, key + BEHIND
