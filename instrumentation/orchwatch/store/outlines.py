"""Spans in outline: who called whom, from when to when, and what to call each.

A question about the shape of many spans reads these instead of `spans.Span`: a trace of 200,000
spans is there in a third of the time.
"""

from __future__ import annotations

import json
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch import semconv
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchwatch.store import engine
    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection
    from orchwatch.store.small import Row

_HOOK_KEYS = (semconv.HOOK_NAME, semconv.HOOK_EVENT_NAME, semconv.HOOK_OUTCOME)


IS_HOOK = f"(operation = '{semconv.HOOK_PROCESS}' OR name = '{semconv.HOOK_PROCESS}')"
"""Whether a span is a hook's, in SQL: one without a recorded duration is no operation."""


def text_of(column: str, key: str) -> str:
    """A string among OTLP/JSON attributes as JSON has it, in SQL; NULL where there is none."""
    value = r'"((?:[^"\\]|\\.)*)"'
    pattern = rf'"{key.replace(".", "[.]")}","value":\s*\{{\s*"stringValue"\s*:\s*{value}'
    return f"nullif(regexp_extract({column}, '{pattern}', 1), '')"


def _of_hook(key: str) -> str:
    return f"CASE WHEN {IS_HOOK} THEN {text_of('attributes', key)} END"


# What many spans have in common, in the order of an outline's: asked for once, and so kept once, by
# a hash of 64 bits. Of a million different ones two have the same in one store of 30 million.
_SHARED = f"""
    replace(trace_id::VARCHAR, '-', ''), name, operation, status, error_type, session_id, agent,
    agent_id, {", ".join(_of_hook(key) for key in _HOOK_KEYS)},
    {text_of("resource", semconv.HOST_NAME)}
"""
_KEY = f"hash({_SHARED})"
_OWN = f"SELECT {_KEY}, span_id, parent_span_id, end_ns - duration_ns, end_ns FROM span WHERE "  # noqa: S608 - no value stands in it
_COMMON = f"SELECT DISTINCT {_KEY}, {_SHARED} FROM span WHERE "  # noqa: S608
_HOOK = 8
_AT_ONCE = 10_000
_OF_TRACE = "trace_id = try_cast($trace_id AS UUID)"
_OF_TRACES = "trace_id IN (SELECT unnest($trace_ids::VARCHAR[])::UUID)"
_OF_FAMILIES = "family IN (SELECT unnest($families)) AND "
_TELLING = """
SELECT DISTINCT ON (trace_id, span_id) replace(trace_id::VARCHAR, '-', ''), span_id, attributes
FROM span WHERE trace_id IN (SELECT unnest($trace_ids::VARCHAR[])::UUID)
    AND list_bool_or(list_transform($keys::VARCHAR[], lambda key: contains(attributes, key)))
"""
_ORDER = " ORDER BY end_ns - duration_ns, end_ns DESC, trace_id, span_id"


class Outline(NamedTuple):
    """A span, as far as its shape goes.

    Attributes:
        trace_id: Hexadecimal.
        span_id: Unique within the trace.
        parent_span_id: None where nothing called it.
        name: As it was given.
        operation: None where it is none.
        start_ns: Unix nanoseconds.
        end_ns: Never before the start.
        status: OTLP's code.
        error_type: None where it has not failed.
        session_id: Whose.
        agent: Name of the agent.
        agent_id: That one's id.
        hook: What a hook is called; None of anything else, and where unknown.
        hook_event: The event that the hook ran for, likewise.
        hook_outcome: How the hook ended, likewise.
        host: Name of the machine; None where unknown.
    """

    trace_id: str
    span_id: int
    parent_span_id: int | None
    name: str
    operation: str | None
    start_ns: int
    end_ns: int
    status: int
    error_type: str | None
    session_id: str | None
    agent: str | None
    agent_id: str | None
    hook: str | None = None
    hook_event: str | None = None
    hook_outcome: str | None = None
    host: str | None = None


def of_trace(store: Store | SmallStore, trace_id: str) -> list[Outline]:
    """The spans of a trace, each once, by start; none where the id is unknown or no id at all.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    if isinstance(store, SmallStore):
        wanted = trace_id.lower()
        return _ordered(row for row in store.rows if row.trace_id == wanted)
    asked = {"trace_id": trace_id}
    return _once(_asked(store, _OF_TRACE, asked))


def of_traces(store: Store | SmallStore, trace_ids: Sequence[str]) -> list[Outline]:
    """The spans of several, whose ids are whole.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    if isinstance(store, SmallStore):
        wanted = set(trace_ids)
        return _ordered(row for row in store.rows if row.trace_id in wanted)
    asked = {"trace_ids": list(trace_ids)}
    return _once(_asked(store, _OF_TRACES, asked))


def selected(store: Store | SmallStore, selection: Selection) -> list[Outline]:
    """The spans that a selection is about, whether or not they are operations.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    if isinstance(store, SmallStore):
        return _ordered(selection.held(store.rows))
    where, values = selection.where()
    asked = {**values, "families": list(selection.families)}
    return _once(_asked(store, _OF_FAMILIES + where, asked))


def telling(
    store: Store | SmallStore, trace_ids: Sequence[str], keys: Sequence[str]
) -> dict[tuple[str, int], dict[str, Any]]:
    """Numbers that spans of these traces say, by trace and span, of those that say any.

    Args:
        store: Where to look.
        trace_ids: Whole ones.
        keys: Which attributes.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    if isinstance(store, SmallStore):
        wanted = set(trace_ids)
        rows: Iterable[Sequence[Any]] = [
            (row.trace_id, row.span_id, row.attributes)
            for row in store.rows
            if row.trace_id in wanted and any(key in row.attributes for key in keys)
        ]
    else:
        asked = {"trace_ids": list(trace_ids), "keys": list(keys)}
        rows = store.query(_TELLING, asked)
    found = {}
    for trace_id, span_id, attributes in rows:
        numbers = {pair["key"]: _number(pair["value"]) for pair in json.loads(attributes)}
        found[trace_id, span_id] = {key: numbers[key] for key in keys if key in numbers}
    return found


def _number(value: object) -> float:
    """An OTLP/JSON value as a number, 0 where it is none."""
    pair = value if isinstance(value, dict) else {}
    try:
        return float(str(pair.get("doubleValue", pair.get("intValue", 0))))
    except ValueError:
        return 0.0


def _ordered(rows: Iterable[Row]) -> list[Outline]:
    found = list(map(outline, rows))
    found.sort(key=lambda span: (span.start_ns, -span.end_ns, span.trace_id, span.span_id))
    return _once(found)


def _once(ordered: list[Outline]) -> list[Outline]:
    """Each span as it comes first: the earlier start, then the later end."""
    if len(set(map(itemgetter(1), ordered))) == len(ordered):
        return ordered  # as nearly always: not even two of several traces have the same id
    once: dict[tuple[str, int], Outline] = {}
    for span in ordered:
        once.setdefault(span[:2], span)
    return list(once.values())


def _asked(store: Store, where: str, values: Mapping[str, Any]) -> list[Outline]:
    """The spans that an SQL condition selects, by start."""

    def ask(connection: engine.Connection) -> list[Outline]:
        # Both in one: a store that is read anew in between may hold more.
        shared = {}
        for key, *texts in connection.execute(_COMMON + where, values).fetchall():
            texts[_HOOK:] = map(unescaped, texts[_HOOK:])
            shared[key] = texts[0], texts[1:3], texts[3:]
        # `Outline._make` is a function of Python's, which takes twice as long.
        make, found = partial(tuple.__new__, Outline), []
        answer = connection.execute(_OWN + where + _ORDER, values)
        while rows := answer.fetchmany(_AT_ONCE):
            for key, span_id, parent_id, start_ns, end_ns in rows:
                trace_id, names, rest = shared[key]
                found.append(make((trace_id, span_id, parent_id, *names, start_ns, end_ns, *rest)))
        return found

    return store.asked(ask)


def unescaped(written: str | None) -> str | None:
    """A string that `text_of` gives."""
    return json.loads(f'"{written}"') if written and "\\" in written else written


def _strings(pairs: str, keys: Sequence[str]) -> Iterator[str | None]:
    """The values of some of the attributes of an OTLP/JSON list; None where it has no such text."""
    found = {}
    if any(key in pairs for key in keys):
        found = {pair["key"]: pair["value"].get("stringValue") for pair in json.loads(pairs)}
    for key in keys:
        value = found.get(key)
        yield value if isinstance(value, str) and value else None


def is_hook(span: Row | Outline) -> bool:
    """The same in Python."""
    return semconv.HOOK_PROCESS in (span.operation, span.name)


def outline(row: Row) -> Outline:
    """A small store's row."""
    hook = event = outcome = None
    if is_hook(row):
        hook, event, outcome = _strings(row.attributes, _HOOK_KEYS)
    (host,) = _strings(row.resource, (semconv.HOST_NAME,))
    return Outline(
        trace_id=row.trace_id,
        span_id=row.span_id,
        parent_span_id=row.parent_span_id,
        name=row.name,
        operation=row.operation,
        start_ns=row.end_ns - row.duration_ns,
        end_ns=row.end_ns,
        status=row.status,
        error_type=row.error_type,
        session_id=row.session_id,
        agent=row.agent,
        agent_id=row.agent_id,
        hook=hook,
        hook_event=event,
        hook_outcome=outcome,
        host=host,
    )
