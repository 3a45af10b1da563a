"""One question to a session's state, for a process that ends with the answer.

It imports as little as it can, and reads only the members that the answer depends on.
"""

from __future__ import annotations

from orchwatch import semconv
from orchwatch.recording.operation import operation
from orchwatch.runtime import state_paths
from orchwatch.runtime.schema import SQLiteError, existing
from orchwatch.runtime.state import StateError
from orchwatch.runtime.state_database import SCHEMA
from orchwatch.runtime.state_reader import MISSING, Reader

TYPE_CHECKING = False  # as in `state_paths`
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from typing import Any

    from orchwatch.runtime.query_plans import Plan
    from orchwatch.runtime.state_paths import Keys

_LOCK_TIMEOUT_S = 1.0
_MAPPED_BYTES = 256 * 1024 * 1024
_PATH_CHARACTERS = 120


def parse(path: str) -> Callable[[Reader], list[Any]]:
    """What selects the values in a state.

    Args:
        path: A query, as `QueryAPI.query` takes it.

    Raises:
        QueryError: It is not JSONPath.
    """
    keys = _names(path)
    if keys is not None:
        return lambda reader: _member(reader, keys)
    from orchwatch.runtime.query_plans import Plan  # noqa: PLC0415 - most queries are of one member

    plan = Plan(path)
    return lambda reader: plan.select(_document(reader, plan))


def answer(file: str, path: str) -> tuple[int, list[Any]]:
    """The version of a state, and the values that a JSONPath selects in it.

    Args:
        file: The session's database.
        path: A query, as `parse` takes it.

    Raises:
        StateError: The file cannot be read, or holds no state.
        QueryError: `path` is not JSONPath; then nothing is recorded.
    """
    select = parse(path)
    attributes = {semconv.STATE_PATH: path[:_PATH_CHARACTERS]}
    with operation(semconv.STATE_QUERY, attributes) as op:
        try:
            connection = existing(file, _LOCK_TIMEOUT_S)
            try:
                reader = _begun(connection, file)
                version = reader.version()
                values = select(reader)
            finally:
                connection.close()
        except OSError as error:
            raise StateError(f"{file}: cannot be opened: {error.strerror}") from error
        except SQLiteError as error:
            raise StateError(f"{file}: {error}") from error
        op.set_attribute(semconv.RESULT_COUNT, len(values))
        return version, values


def _begun(connection: sqlite3.Connection, file: str) -> Reader:
    connection.execute("PRAGMA query_only=1")
    # A page is 1 KiB: to read each by itself takes as long as what the query does with them.
    connection.execute(f"PRAGMA mmap_size={_MAPPED_BYTES}")
    connection.execute("BEGIN")
    found = [
        connection.execute(f"PRAGMA {what}").fetchone()[0]
        for what in ("application_id", "user_version")
    ]
    if found != [SCHEMA.application_id, SCHEMA.version]:
        raise StateError(f"{file}: holds no {SCHEMA.holds} that this version of orchwatch knows")
    return Reader(connection)


def _names(path: str) -> Keys | None:
    """The names of one member; None where it may be any other query, or escapes a letter."""
    if not path.startswith("$") or "\\" in path:
        return None
    try:
        return state_paths.parse(path)
    except state_paths.PathError:
        return None


def _member(reader: Reader, keys: Keys) -> list[Any]:
    found = reader.get(keys, MISSING)
    return [] if found is MISSING else [found]


def _document(reader: Reader, plan: Plan) -> dict[str, Any]:
    """The state, as far as it is asked for."""
    document: dict[str, Any] = {}
    for keys in plan.reads:
        found = reader.part(keys, plan.needs)
        if not keys:
            document = found
            break
        if found is MISSING:
            continue
        above = document
        for key in keys[:-1]:
            above = above.setdefault(key, {})
        above[keys[-1]] = found
    return document
