"""A small store, read without DuckDB, whose import alone costs more than such a store's answer.

Only lines as this product writes them are parsed here. For anything else, a segment that is to be
compacted, a file of the store that holds what the spool no longer does, an unusual line, `read`
returns None, and DuckDB is used, with the same answers.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from orchwatch import semconv
from orchwatch.recording import spool
from orchwatch.store import archive, row_cache, segments, unfinished
from orchwatch.store.row_cache import Parsed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchwatch.store.segments import Segment

MAX_BYTES = 12 * 1024 * 1024
"""Above this DuckDB is faster."""

# Parsing this many bytes of lines takes about as long as keeping their rows.
_WORTH_KEEPING_BYTES = 256 * 1024

_TRACE_ID = re.compile("[0-9a-f]{32}")
_SPAN_ID = re.compile("[0-9a-f]{16}")
_TIME = re.compile("[0-9]{1,19}")
_MAX_NS = 1 << 63
# Two characters that DuckDB takes another way than Python, as JSON escapes them.
_ODD = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")
_MAX = 255  # of a kind or a status
_COLUMNS = {
    semconv.OPERATION_NAME: "operation",
    semconv.ERROR_TYPE: "error_type",
    semconv.SESSION_ID: "session_id",
    semconv.GEN_AI_AGENT_NAME: "agent",
    semconv.GEN_AI_AGENT_ID: "agent_id",
}
_KNOWN = {"orchwatch", "resourceSpans"}


class Row(NamedTuple):
    """A span, with the columns of the store; ids of spans are numbers as they are there.

    `attributes` and `resource` are OTLP/JSON lists, as JSON, without what has a column of its own;
    empty where nothing is left. So is `events`, of what happened within the span.
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
    attributes: str
    resource: str
    events: str = ""


# The columns of strings, most of which occur again and again.
_TEXTS = tuple(
    place
    for place, column in enumerate(Row._fields)
    if column not in ("span_id", "parent_span_id", "kind", "end_ns", "duration_ns", "status")
)


class SmallStore:
    """All spans of a home, in memory.

    Attributes:
        rows: By family, in the order in which they were written.
    """

    def __init__(self, rows: list[Row]) -> None:
        self.rows = rows
        self._operations: dict[tuple[str, ...], list[Row]] = {}

    def operations(self, families: tuple[str, ...]) -> list[Row]:
        """Those of these families, the first of which counts as it is; of the others each once."""
        if families not in self._operations:
            self._operations[families] = list(_once(self.rows, families))
        return self._operations[families]

    def unreadable(self) -> dict[str, int]:
        """None: with an unreadable line the store would not have been read here."""
        return {}

    def holds_history(self) -> bool:
        """Whether anything was imported."""
        return any(row.family == spool.HISTORY for row in self.rows)


def _once(rows: list[Row], families: tuple[str, ...]) -> Iterator[Row]:
    by_family = {family: [row for row in rows if row.family == family] for family in families}
    here = by_family[families[0]]
    yield from (row for row in here if row.operation is not None)
    if len(here) == len(rows):
        return
    known = {(row.trace_id, row.span_id) for row in here}
    for family in families[1:]:
        late = {
            (row.trace_id, row.span_id): row
            for row in reversed(by_family[family])
            if row.operation is not None
        }
        yield from (row for key, row in late.items() if key not in known)
        known |= {(row.trace_id, row.span_id) for row in by_family[family]}


class _NeedsDuckDBError(Exception):
    """A value that only DuckDB can interpret."""


_ODD_LINE = (_NeedsDuckDBError, ValueError, RecursionError, LookupError, TypeError, AttributeError)


def read(home: Path) -> SmallStore | None:
    """The store of a home; None where it is not small, or something in it is odd."""
    try:
        str(home).encode()
    except UnicodeEncodeError:
        return None  # DuckDB refuses it, and says so
    unfinished.close(home)
    directory = home / "store"
    if segments.size_bytes(home / "spool") > MAX_BYTES:
        row_cache.remove(directory)
        return None
    found = segments.find(home / "spool")
    if not _all_in_spool(found, directory):
        return None
    known = row_cache.read(directory, _TEXTS, Row._make)
    try:
        parsed = {segment.id: _parsed(segment, known.get(segment.id)) for segment in found}
    except OSError:
        return None  # dropped meanwhile, or not ours to read
    offsets = {identity: one.offset for identity, one in known.items()}
    new_bytes = sum(one.offset - offsets.get(id_, 0) for id_, one in parsed.items())
    if new_bytes >= _WORTH_KEEPING_BYTES:
        row_cache.write(directory, parsed, _TEXTS)
    rows: list[Any] = []
    for one in parsed.values():
        if one.rows is None:
            return None
        rows += one.rows
    return SmallStore(rows)


def _all_in_spool(found: list[Segment], directory: Path) -> bool:
    """Whether nothing is to be compacted, or stands in the store alone."""
    sizes = {segment.id: segment.size_bytes for segment in found}
    compacted = archive.find(directory)
    if any(sizes.get(file.id, -1) < file.source_bytes for file in compacted.values()):
        return False
    if any(sizes.get(file.id, -1) < file.source_bytes for file in archive.damaged(directory)):
        return False  # which has to be reported
    return all(
        segment.id in compacted and compacted[segment.id].source_bytes >= segment.size_bytes
        for segment in found
        if segment.closed and segment.size_bytes
    )


def _parsed(segment: Segment, before: Parsed | None) -> Parsed:
    """A segment's rows: those that are known, and those of its lines since."""
    if before is None or before.offset > segment.size_bytes:
        before = Parsed(0, [])
    if before.rows is None:
        return before
    offset, rows = before.offset, list(before.rows)
    try:
        for piece, end in segments.read(segment, offset):
            rows += _rows(piece, segment.family)
            offset = end
    except _ODD_LINE:
        return Parsed(segment.size_bytes, None)
    return Parsed(offset, rows)


def _rows(piece: bytes, family: str) -> Iterator[Row]:
    text = piece.decode()
    if _ODD.search(text) or "\0" in text:
        raise _NeedsDuckDBError
    for line in text.split("\n"):
        if not line:
            continue
        document = json.loads(line, parse_constant=_refuse)
        if document.keys() - _KNOWN:
            raise _NeedsDuckDBError
        for resource in document["resourceSpans"]:
            pairs = (resource.get("resource") or {}).get("attributes") or []
            service, rest = _resource(pairs)
            for scope in resource["scopeSpans"]:
                for span in scope["spans"]:
                    yield _row(span, family, service, rest)


def _refuse(_: str) -> NoReturn:
    raise _NeedsDuckDBError


def _resource(pairs: list[dict[str, Any]]) -> tuple[str | None, str]:
    taken = _taken(pairs, (semconv.SERVICE_NAME, semconv.SERVICE_INSTANCE_ID))
    rest = [pair for pair in pairs if pair["key"] not in taken]
    return taken.get(semconv.SERVICE_NAME), _text(rest)


def _text(pairs: list[dict[str, Any]]) -> str:
    return json.dumps(pairs, separators=(",", ":")) if pairs else ""


def _row(span: dict[str, Any], family: str, service: str | None, resource: str) -> Row:
    pairs = span.get("attributes") or []
    taken = _taken(pairs, tuple(_COLUMNS))
    own = {column: taken.get(key) for key, column in _COLUMNS.items()}
    trace_id, span_id = span["traceId"], span["spanId"]
    if not (_TRACE_ID.fullmatch(trace_id) and _SPAN_ID.fullmatch(span_id)):
        raise _NeedsDuckDBError
    parent = span.get("parentSpanId") or ""
    if parent and not _SPAN_ID.fullmatch(parent):
        raise _NeedsDuckDBError
    start_ns, end_ns = _time(span["startTimeUnixNano"]), _time(span["endTimeUnixNano"])
    name = span.get("name", "")
    if not isinstance(name, str):
        raise _NeedsDuckDBError
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
        attributes=_text(
            [
                pair
                for pair in pairs
                if pair["key"] not in taken or pair["key"] == semconv.GEN_AI_AGENT_ID
            ]
        ),
        resource=resource,
        events=_text(span.get("events") or []),
        **own,
    )


def _taken(pairs: list[dict[str, Any]], wanted: tuple[str, ...]) -> dict[str, str]:
    """What has a column of its own, by key."""
    found: dict[str, str] = {}
    for pair in pairs:
        key = pair["key"]
        if not isinstance(key, str):
            raise _NeedsDuckDBError
        if key in wanted:
            (value,) = pair["value"].values()
            if key in found or not isinstance(value, str) or "stringValue" not in pair["value"]:
                raise _NeedsDuckDBError
            found[key] = value
    return found


def _time(text: Any) -> int:
    value = int(text) if _TIME.fullmatch(text) else _MAX_NS
    if value >= _MAX_NS:
        raise _NeedsDuckDBError
    return value


def _small(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MAX:
        raise _NeedsDuckDBError
    return value
