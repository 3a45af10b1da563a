"""The views that other people's questions are put to, and what such a question may do: read.

What they are made of (`store.views`) may change with every version; these columns may only grow.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchwatch.errors import OrchwatchError, UsageError
from orchwatch.recording.safe_text import safe
from orchwatch.store import engine, views
from orchwatch.store.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchwatch.store.database import Store

OPERATIONS = "ended_operations"
SPANS = "all_spans"

COLUMNS = {
    OPERATIONS: {
        "operation": "its name",
        "started": "when it began, UTC (TIMESTAMP_NS)",
        "ended": "when it ended, likewise",
        "duration_s": "how long it took",
        "failed": "whether it did",
        "error_type": "why; null where it did not",
        "session_id": "its session; null where it names none, as in all below",
        "agent": "name of its agent",
        "agent_id": "that one's id",
        "service": "the service that recorded it",
        "name": "the span's name",
        "trace_id": "32 hexadecimal digits",
        "span_id": "16 of them",
        "parent_span_id": "of the span that called it; null for none",
    },
    SPANS: {
        "family": "`operations`, `undelivered` or `history`: where it was written",
        "attributes": "what else it carries, as an OTLP/JSON list",
        "resource": "what its process carries, likewise",
        "details": "events, links and message, where there are any, as JSON",
    },
}
"""By view; `all_spans` has those of `ended_operations`, too, and these besides."""

_SHARED = """
    operation, make_timestamp_ns(end_ns - duration_ns) AS started,
    make_timestamp_ns(end_ns) AS ended, duration_ns / 1e9 AS duration_s,
    status = 2 AS failed, error_type, session_id, agent, agent_id, service, name,
    replace(trace_id::VARCHAR, '-', '') AS trace_id, printf('%016x', span_id) AS span_id,
    printf('%016x', parent_span_id) AS parent_span_id
"""
_VIEW = "CREATE OR REPLACE TEMP VIEW {name} AS SELECT {columns} FROM ({rows})"
_MAX_MESSAGE_COLUMNS = 300
# What DuckDB answers with all that it holds, most of which is nobody's business.
_LISTS = re.compile(r"(show(\s+all)?(\s+tables)?|desc(ribe)?(\s+tables)?)", re.IGNORECASE)
_VIEWS = f"SELECT unnest(['{SPANS}', '{OPERATIONS}']) AS name"
_NO_TABLE = re.compile(r"Table with name (.+?) does not exist")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a question is answered with.

    Attributes:
        columns: Their names.
        types: DuckDB's, one a column.
        rows: In the order of the answer.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: list[tuple[Any, ...]]


class Question:
    """One SELECT, put to a home's store.

    Args:
        store: What is asked. From then on it opens no file but its own.
        sql: The statement.
        output: The file that the answer may be written to, with `to_parquet`.

    Raises:
        UsageError: It is none, more than one, or does more than read.
        OrchwatchError: The store's files cannot be read.
    """

    def __init__(self, store: Store, sql: str, *, output: Path | None = None) -> None:
        self._store = store
        self._output = output
        try:
            sql.encode()
        except UnicodeEncodeError as error:
            raise UsageError("sql: must be UTF-8") from error
        _define(store, output)
        try:
            statements = store.using(lambda connection: connection.extract_statements(sql))
        except engine.Error as error:
            raise UsageError(f"sql: {_first_line(error)}") from error
        if len(statements) != 1 or statements[0].type != engine.Select:
            raise UsageError("sql: must be one SELECT, which only reads")
        asked = statements[0].query.strip("; \t\r\n")
        self._sql = _VIEWS if _LISTS.fullmatch(asked) else asked

    def columns(self) -> tuple[str, ...]:
        """Their names, without the rows.

        Raises:
            UsageError: It asks for something that is not there, or must not be read.
            OrchwatchError: The store's files cannot be read.
        """
        described = self._asked(
            lambda connection: connection.execute(
                f"DESCRIBE SELECT * FROM (\n{self._sql}\n)"  # noqa: S608 - which is the question
            ).fetchall()
        )
        return tuple(str(row[0]) for row in described)

    def answer(self) -> Answer:
        """All of it.

        Raises:
            UsageError: It asks for something that is not there, or must not be read.
            OrchwatchError: The store's files cannot be read.
        """

        def ask(connection: engine.Connection) -> Answer:
            found = connection.execute(self._sql)
            described = found.description or []
            return Answer(
                columns=tuple(str(column[0]) for column in described),
                types=tuple(str(column[1]) for column in described),
                rows=found.fetchall(),
            )

        found: Answer = self._asked(ask)
        return found

    def arrow(self) -> Any:
        """The same as a `pyarrow.Table`.

        Raises:
            OrchwatchError: Likewise, or pyarrow is not installed.
        """
        import duckdb  # noqa: PLC0415 - the engine alone does not know Arrow

        assert duckdb.__version__
        _require("pyarrow")
        return self._asked(lambda connection: connection.sql(self._sql).to_arrow_table())

    def pandas(self) -> Any:
        """The same as a `pandas.DataFrame`.

        Raises:
            OrchwatchError: Likewise, or pandas is not installed.
        """
        _require("pandas")
        return self._asked(lambda connection: connection.execute(self._sql).df())

    def to_parquet(self) -> None:
        """Writes the same to `output`.

        Raises:
            OrchwatchError: Likewise, or it cannot be written.
        """
        target = f"TO {engine.quoted(self._output)} (FORMAT parquet, USE_TMP_FILE false)"
        copy = f"COPY (\n{self._sql}\n) {target}"
        self._asked(lambda connection: connection.execute(copy).fetchall())

    def _asked(self, ask: Callable[[engine.Connection], Any]) -> Any:
        # In a thread: what asks in the main one hears of Ctrl-C only once it has its answer.
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(self._store.using, ask)
            try:
                return answer.result()
            except KeyboardInterrupt:
                self._store.interrupt()
                raise
            except engine.Error as error:
                raise UsageError(f"sql: {_first_line(error)}") from error
            except RecursionError as error:
                raise UsageError("sql: is nested too deep") from error


def _define(store: Store, output: Path | None) -> None:
    operations, _ = views.chosen(store, Selection(history=True), window=False)
    more = ", ".join(COLUMNS[SPANS])
    for name, columns, rows in (
        (OPERATIONS, _SHARED, operations),
        (SPANS, f"{_SHARED}, {more}", "FROM span"),
    ):
        store.query(_VIEW.format(name=name, columns=columns, rows=rows))
    (enabled,) = store.query("SELECT current_setting('enable_external_access')")[0]
    if enabled:
        store.query(f"SET allowed_directories = [{engine.quoted(f'{store.directory}/')}]")
        if output is not None:
            store.query(f"SET allowed_paths = [{engine.quoted(output)}]")
        store.query("SET enable_external_access = false")


def _require(library: str) -> None:
    try:
        __import__(library)
    except ImportError as error:
        raise OrchwatchError(
            f"this needs {library}, which is not installed: pip install {library}"
        ) from error


def _first_line(error: Exception) -> str:
    """DuckDB's message without the statement that it repeats."""
    told = str(error).partition("\n\nLINE ")[0]
    missing = _NO_TABLE.search(told)
    if missing:
        told = f"there is no view {missing[1]}; there are {OPERATIONS} and {SPANS}"
    return safe(" ".join(told.split()), _MAX_MESSAGE_COLUMNS)
