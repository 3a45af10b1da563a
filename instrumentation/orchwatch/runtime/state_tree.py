"""Writes of a session's state, inside one transaction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch.runtime import state_paths
from orchwatch.runtime.state import StateError
from orchwatch.runtime.state_paths import MAX_DEPTH
from orchwatch.runtime.state_reader import Reader, below, latest

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping

    from orchwatch.runtime.state_changes import Kind
    from orchwatch.runtime.state_paths import Keys, Path

Row = tuple[str, str | None]

# A value in the place of another; a trigger writes the line of changes.
REPLACE = """UPDATE nodes SET value = ?, version = (SELECT max(version) + 1 FROM changes)
WHERE path = ? AND value IS NOT NULL RETURNING version"""

_encode_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


class VersionConflictError(StateError):
    """A member has another version than the writer expected; nothing was written.

    Attributes:
        expected: The version that the writer had read.
        found: The member's version now; 0 where there is none.
    """

    def __init__(self, path: str, expected: int, found: int) -> None:
        super().__init__(f"{path} is at version {found}, not {expected}: read it again")
        self.expected = expected
        self.found = found


class Plan(NamedTuple):
    """What `set` is to write, worked out before others have to wait for it.

    Attributes:
        keys: The member's names.
        rows: The member's row, then those below it.
    """

    keys: Keys
    rows: list[Row]


def plan(path: Path, value: Any) -> Plan:
    """The rows of a member.

    Raises:
        PathError: `path`, or a name in `value`, names no member.
        StateError: `value` is not JSON, or not an object where it is to be the whole state.
    """
    keys, key = state_paths.member(path)
    if isinstance(value, dict):
        return Plan(keys, list(_rows(keys, value)))
    if not keys:
        raise StateError(f"the state as a whole must be an object, not {value!r}")
    return Plan(keys, [(key, _json(keys, value))])


class Writer(Reader):
    """Reads and writes inside one transaction; each sees what was written before it.

    Attributes:
        changed: How many members were written or removed.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self._next = latest(connection) + 1
        self.changed = 0

    @property
    def written(self) -> int:
        """The version that the state has afterwards."""
        return self._next if self.changed else self._next - 1

    def set(self, path: Path, value: Any, *, expected_version: int | None = None) -> None:
        """Put `value`, JSON, in the place of the member at `path`; objects above it are made.

        Args:
            path: The member; `$` takes an object only.
            value: Its new value.
            expected_version: What `version(path)` said; 0 for a member that must not exist yet.

        Raises:
            PathError: `path`, or a name in `value`, names no member.
            StateError: `value` is not JSON, or something above `path` is no object.
            VersionConflictError: The member has another version; nothing was written.
        """
        self.put(plan(path, value), expected_version=expected_version)

    def put(self, planned: Plan, *, expected_version: int | None = None) -> None:
        """As `set`, of what `plan` gave."""
        self._expect(planned.keys, expected_version)
        self._put(*planned)

    def merge(
        self, path: Path, members: Mapping[str, Any], *, expected_version: int | None = None
    ) -> None:
        """Set members of the object at `path`, and leave its others; objects merge in turn.

        Raises:
            StateError, PathError, VersionConflictError: As `set`.
        """
        keys = state_paths.parse(path)
        self._expect(keys, expected_version)
        row = self._row(keys)
        if row is not None and row[0] is not None:
            raise StateError(f"{state_paths.shown(keys)} is no object and has no members")
        planned = [Plan(keys, list(_rows(keys, {})))] if row is None else []
        planned += [Plan(at, list(_rows(at, value))) for at, value in self._merged(keys, members)]
        for each in planned:
            self._put(*each)

    def delete(self, path: Path, *, expected_version: int | None = None) -> bool:
        """Remove a member with all below it; False where there is none. `$` empties the state.

        Raises:
            PathError, VersionConflictError: As `set`.
        """
        keys = state_paths.parse(path)
        self._expect(keys, expected_version)
        if not keys:
            self._put(keys, list(_rows(keys, {})))
            return True
        row = self._row(keys)
        if row is None:
            return False
        if row[0] is None:
            self._clear_below(keys)
        key = state_paths.encode(keys)
        self._connection.execute("DELETE FROM nodes WHERE path = ?", (key,))
        self._connection.execute(
            "UPDATE nodes SET version = ? WHERE path = ?",
            (self._next, state_paths.encode(keys[:-1])),
        )
        self._note("delete", key)
        return True

    def increment(self, path: Path, by: float = 1) -> int | float:
        """Add to a number, and give what it is then; a missing one counts from 0.

        Raises:
            StateError, PathError: As `set`, or the member or `by` is no number.
        """
        keys = state_paths.parse(path)
        if not _is_number(by):
            raise StateError(f"{state_paths.shown(keys)} is incremented by a number, not {by!r}")
        before = self.get(keys, 0)
        if not _is_number(before):
            raise StateError(f"{state_paths.shown(keys)} is no number and cannot be incremented")
        after: int | float = before + by
        self.set(keys, after)
        return after

    def _merged(self, keys: Keys, members: Mapping[str, Any]) -> Iterator[tuple[Keys, Any]]:
        """The members that a merge replaces: what is an object on both sides is looked into."""
        for name, value in members.items():
            state_paths.check_name(name)
            target = (*keys, name)
            row = self._row(target) if isinstance(value, dict) else None
            if row is not None and row[0] is None:
                yield from self._merged(target, value)
            else:
                yield target, value

    def _put(self, keys: Keys, rows: list[Row]) -> None:
        row = self._row(keys)
        if row is None:
            self._make_above(keys)
        elif row[0] is None:
            self._clear_below(keys)
        self._connection.executemany(
            "INSERT OR REPLACE INTO nodes VALUES (?, ?, ?)", [(*each, self._next) for each in rows]
        )
        self._note("set", rows[0][0])

    def _make_above(self, keys: Keys) -> None:
        missing = []
        for depth in range(len(keys) - 1, -1, -1):
            outer = keys[:depth]
            row = self._row(outer)
            if row is None:
                missing.append((state_paths.encode(outer), self._next))
            elif row[0] is not None:
                raise StateError(f"{state_paths.shown(outer)} is no object and has no members")
            else:
                break  # so are all above it
        self._connection.executemany("INSERT INTO nodes VALUES (?, NULL, ?)", missing)

    def _clear_below(self, keys: Keys) -> None:
        self._connection.execute("DELETE FROM nodes WHERE path >= ? AND path < ?", below(keys))

    def _note(self, kind: Kind, key: str) -> None:
        self._connection.execute(
            "INSERT INTO changes VALUES (?, ?, ?, ?)", (self._next, self.changed, kind, key)
        )
        self.changed += 1

    def _expect(self, keys: Keys, expected: int | None) -> None:
        if expected is None:
            return
        if not isinstance(expected, int):
            raise StateError(f"expected_version must be an int, not {expected!r}")
        if (found := self.version(keys)) != expected:
            raise VersionConflictError(state_paths.shown(keys), expected, found)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rows(keys: Keys, value: Any) -> Iterator[Row]:
    if len(keys) > MAX_DEPTH:
        raise StateError(f"{state_paths.shown(keys[:3])}…: more than {MAX_DEPTH} objects deep")
    if isinstance(value, dict):
        yield state_paths.encode(keys), None
        for name, member in value.items():
            state_paths.check_name(name)
            yield from _rows((*keys, name), member)
        return
    yield state_paths.encode(keys), _json(keys, value)


def _json(keys: Keys, value: Any) -> str:
    try:
        return int.__repr__(value) if type(value) is int else _encode_json(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise StateError(f"{state_paths.shown(keys)}: state is not JSON: {error}") from error
