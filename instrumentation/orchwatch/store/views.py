"""The views that questions are put to: each family, all spans, and what counts as happened here.

`counted` holds operations and what could not be delivered, not imported history. A span is in both
families once it has been sent again, and counts once. Looking for such pairs among a million spans
takes longer than all the rest, so among the store's files, which never change, it is done once for
each set of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.recording import spool
from orchwatch.store import archive, islands
from orchwatch.store.segments import SPAN_FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Protocol

    from orchwatch.store import engine
    from orchwatch.store.selection import Selection

    class _Store(Protocol):
        def holds_history(self) -> bool: ...
        def is_within(self, since_ns: int, until_ns: int) -> bool: ...


_LIVE = """
CREATE OR REPLACE TEMP VIEW {family} AS
SELECT * EXCLUDE (segment) FROM spool WHERE family = '{family}'
"""
_LIVE_AND_STORED = """
CREATE OR REPLACE TEMP VIEW {family} AS
SELECT * EXCLUDE (segment) FROM spool WHERE family = '{family}'
UNION ALL BY NAME
SELECT '{family}' AS family, * FROM read_parquet(getvariable('{family}_files'))
"""
_SPAN = """
CREATE OR REPLACE TEMP VIEW span AS
SELECT * FROM operations UNION ALL BY NAME SELECT * FROM undelivered
UNION ALL BY NAME SELECT * FROM history
"""
# What `islands` does not have.
_LIVE_SPANS = """
SELECT family, operation, session_id, agent, agent_id, status, end_ns, duration_ns FROM spool
"""
_PLAIN = """
SELECT '{family}' AS family, operation, session_id, agent, agent_id, status, end_ns, duration_ns
FROM read_parquet(getvariable('{family}_plain'))
"""
_COLUMNS = """
    trace_id, span_id, parent_span_id, name, operation, end_ns, duration_ns, status, error_type,
    service, session_id, agent, agent_id
"""
_NO_LATE = "CREATE OR REPLACE TEMP TABLE late AS SELECT {columns} FROM spool LIMIT 0".replace(
    "{columns}", _COLUMNS
)
_LATE = """
INSERT INTO late
SELECT DISTINCT ON (trace_id, span_id) {columns}
FROM read_parquet(getvariable('undelivered_files')) WHERE operation IS NOT NULL
""".replace("{columns}", _COLUMNS)
_NOT_LATE = """
DELETE FROM late USING read_parquet(getvariable('operations_files')) AS stored
WHERE late.trace_id = stored.trace_id AND late.span_id = stored.span_id
"""
_OPERATIONS = """
SELECT {columns} FROM operations WHERE operation IS NOT NULL
""".replace("{columns}", _COLUMNS)
_LATE_STORED = """
SELECT {columns} FROM late
ANTI JOIN (FROM spool WHERE family = 'operations') USING (trace_id, span_id)
""".replace("{columns}", _COLUMNS)
_LATE_LIVE = """
SELECT {columns} FROM (
    SELECT DISTINCT ON (trace_id, span_id) {columns}
    FROM spool WHERE family = 'undelivered' AND operation IS NOT NULL
)
ANTI JOIN operations USING (trace_id, span_id) ANTI JOIN late USING (trace_id, span_id)
""".replace("{columns}", _COLUMNS)


_IMPORTED = """
FROM (
    SELECT DISTINCT ON (trace_id, span_id) {columns} FROM history
    WHERE operation IS NOT NULL AND {where}
)
ANTI JOIN (FROM operations UNION ALL BY NAME FROM undelivered) USING (trace_id, span_id)
"""


def chosen(
    store: _Store, selection: Selection, *, window: bool = True
) -> tuple[str, dict[str, Any]]:
    """The operations that a selection is about, each once, as SQL and its parameters.

    Args:
        store: What is asked.
        selection: What for.
        window: Whether within its window only.
    """
    # Finding out costs as much as comparing with one end once.
    since_ns = selection.since_ns
    whole = window and since_ns is not None and store.is_within(since_ns, selection.last_ns)
    where, values = selection.where(window=window and not whole)
    sql = f"SELECT * FROM counted WHERE {where}"  # noqa: S608 - no value stands in it
    if selection.history and store.holds_history():
        sql += " UNION ALL " + _IMPORTED.format(columns=_COLUMNS, where=where)
    return sql, values


def spans(selection: Selection) -> tuple[dict[str, str], dict[str, Any]]:
    """All spans of a selection's families, as the parts of an SQL query and their parameters.

    Args:
        selection: Which spans; its window is not looked at.
    """
    where, values = selection.where(window=False)
    families = " UNION ALL BY NAME ".join(f"FROM {family}" for family in selection.families)
    return {"spans": families, "where": where}, values


class Views:
    """Keeps a connection's views in step with the store's files and the table `spool`."""

    def __init__(self, connection: engine.Connection) -> None:
        self._connection = connection
        self._paired: tuple[Sequence[str], Sequence[str]] | None = None
        self._defined: tuple[Mapping[str, Sequence[str]], bool] | None = None

    def define(self, files: Mapping[str, Sequence[str]]) -> bool:
        """Makes the views anew, unless they are of these files already.

        Args:
            files: The store's files by family, for each of `SPAN_FAMILIES`.

        Returns:
            Whether they were of others.

        Raises:
            engine.Error: A file is gone or damaged.
        """
        live = self._connection.execute("SELECT DISTINCT family FROM spool").fetchall()
        wanted = files, (spool.UNDELIVERED,) in live
        if wanted == self._defined:
            return False
        self._defined = None
        for family in SPAN_FAMILIES:
            self._connection.execute(
                f"SET VARIABLE {family}_files = $files", {"files": files[family]}
            )
            view = _LIVE_AND_STORED if files[family] else _LIVE
            self._connection.execute(view.replace("{family}", family))
        self._connection.execute(_SPAN)
        stored = [family for family in SPAN_FAMILIES if files[family]]
        parts = [islands.READ.replace("{family}", family) for family in stored] or [islands.NONE]
        self._connection.execute(_union("islands", parts))
        parts = [_LIVE_SPANS]
        for family in stored:
            plain = [file for file in files[family] if archive.is_plain(file)]
            if plain:
                parts.append(_PLAIN.replace("{family}", family))
                self._connection.execute(f"SET VARIABLE {family}_plain = $files", {"files": plain})
        self._connection.execute(_union("unmerged", parts))
        self._pair(files[spool.OPERATIONS], files[spool.UNDELIVERED])
        counted = [_OPERATIONS]
        if files[spool.UNDELIVERED]:
            counted.append(_LATE_STORED)
        if wanted[1]:
            counted.append(_LATE_LIVE)
        self._connection.execute(_union("counted", counted))
        self._defined = wanted
        return True

    def _pair(self, operations: Sequence[str], undelivered: Sequence[str]) -> None:
        if self._paired == (operations, undelivered):
            return
        self._paired = None
        self._connection.execute(_NO_LATE)
        if undelivered:
            self._connection.execute(_LATE)
            if operations:
                self._connection.execute(_NOT_LATE)
        self._paired = (operations, undelivered)


def _union(view: str, parts: Iterable[str]) -> str:
    return f"CREATE OR REPLACE TEMP VIEW {view} AS " + " UNION ALL ".join(parts)
