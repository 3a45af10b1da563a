"""A small store, read without DuckDB, whose import alone costs more than such a store's answer.

Only lines as this product writes them are taken. Whatever else there is, a closed segment, a file
of the store, an odd line: `read` returns None, and DuckDB has to look, whose answers are the same.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from orchwatch import names, spool
from orchwatch.monitor import segments, unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_BYTES = 3 * 1024 * 1024
"""Above this DuckDB is faster."""

_TRACE_ID = re.compile("[0-9a-f]{32}")
_SPAN_ID = re.compile("[0-9a-f]{16}")
_TIME = re.compile("[0-9]{1,19}")
_MOST_NS = 1 << 63
# Two characters that DuckDB takes another way than Python, as JSON escapes them.
_ODD = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
_MOST = 255  # of a kind or a status
_COLUMNS = {
    names.OPERATION_NAME: "operation",
    names.ERROR_TYPE: "error_type",
    names.SESSION_ID: "session_id",
    names.GEN_AI_AGENT_NAME: "agent",
    names.GEN_AI_AGENT_ID: "agent_id",
}
_KNOWN = {"orchwatch", "resourceSpans"}


class Row(NamedTuple):
    """A span, with the columns of the store; ids of spans are numbers as they are there.

    `attributes` and `resource` are OTLP/JSON lists without what has a column of its own.
    """

    family: str
    trace_id: str
    span_id: int
    parent_span_id: int | None
    name: str
    operation: str | None
    kind: int
    end_ns: int
    duration_ns: int
    status: int
    error_type: str | None
    service: str | None
    session_id: str | None
    agent: str | None
    agent_id: str | None
    attributes: list[dict[str, Any]]
    resource: list[dict[str, Any]]


class SmallStore:
    """All spans of a home, in memory.

    Attributes:
        rows: By family, in the order in which they were written.
    """

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows

    def unreadable(self) -> dict[str, int]:
        """None: with an unreadable line the store would not have been read here."""
        return {}

    def holds_history(self) -> bool:
        """Whether anything was imported."""
        return any(row.family == spool.HISTORY for row in self.rows)


class _OddError(Exception):
    """Something that DuckDB has to judge."""


def read(home: Path) -> SmallStore | None:
    """The store of a home; None where it is not small, or something in it is odd."""
    try:
        str(home).encode()
    except UnicodeEncodeError:
        return None  # DuckDB refuses it, and says so
    unfinished.close(home)
    found = segments.find(home / "spool")
    if sum(segment.size_bytes for segment in found) > MOST_BYTES:
        return None
    if any(segment.closed and segment.size_bytes for segment in found):
        return None  # it is to be compacted
    try:
        with_files = any(path.suffix == ".parquet" for path in (home / "store").iterdir())
    except OSError:
        with_files = False
    if with_files:
        return None
    rows: list[Row] = []
    try:
        for segment in found:
            for piece, _ in segments.read(segment, 0):
                rows += _rows(piece, segment.family)
    except (_OddError, OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    return SmallStore(rows)


def _rows(piece: bytes, family: str) -> Iterator[Row]:
    text = piece.decode()
    if _ODD.search(text) or "\0" in text:
        raise _OddError
    for line in text.split("\n"):
        if not line:
            continue
        document = json.loads(line, parse_constant=_refuse)
        if document.keys() - _KNOWN:
            raise _OddError
        for resource in document["resourceSpans"]:
            pairs = (resource.get("resource") or {}).get("attributes") or []
            service, rest = _resource(pairs)
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    yield _row(span, family, service, rest)


def _refuse(_: str) -> NoReturn:
    raise _OddError


def _resource(pairs: list[dict[str, Any]]) -> tuple[str | None, list[dict[str, Any]]]:
    taken = _taken(pairs, (names.SERVICE_NAME, names.SERVICE_INSTANCE_ID))
    rest = [pair for pair in pairs if pair["key"] not in taken]
    return taken.get(names.SERVICE_NAME), rest


def _row(
    span: dict[str, Any], family: str, service: str | None, resource: list[dict[str, Any]]
) -> Row:
    pairs = span.get("attributes") or []
    taken = _taken(pairs, tuple(_COLUMNS))
    own = {column: taken.get(key) for key, column in _COLUMNS.items()}
    trace_id, span_id = span["traceId"], span["spanId"]
    if not (_TRACE_ID.fullmatch(trace_id) and _SPAN_ID.fullmatch(span_id)):
        raise _OddError
    parent = span.get("parentSpanId") or ""
    if parent and not _SPAN_ID.fullmatch(parent):
        raise _OddError
    start_ns, end_ns = _time(span["startTimeUnixNano"]), _time(span["endTimeUnixNano"])
    name = span.get("name", "")
    if not isinstance(name, str):
        raise _OddError
    return Row(
        family=family,
        trace_id=trace_id,
        span_id=int(span_id, 16),
        parent_span_id=(int(parent, 16) or None) if parent else None,
        name=name,
        kind=_small(span.get("kind", 0)),
        end_ns=end_ns,
        duration_ns=max(end_ns - start_ns, 0),
        status=_small((span.get("status") or {}).get("code", 0)),
        service=service,
        attributes=[
            pair
            for pair in pairs
            if pair["key"] not in taken or pair["key"] == names.GEN_AI_AGENT_ID
        ],
        resource=resource,
        **own,
    )


def _taken(pairs: list[dict[str, Any]], wanted: tuple[str, ...]) -> dict[str, str]:
    """What has a column of its own, by key."""
    found: dict[str, str] = {}
    for pair in pairs:
        key = pair["key"]
        if not isinstance(key, str):
            raise _OddError
        if key in wanted:
            (value,) = pair["value"].values()
            if key in found or not isinstance(value, str) or "stringValue" not in pair["value"]:
                raise _OddError
            found[key] = value
    return found


def _time(text: Any) -> int:
    value = int(text) if _TIME.fullmatch(text) else _MOST_NS
    if value >= _MOST_NS:
        raise _OddError
    return value


def _small(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise _OddError
    return value
