"""How long each operation took, one by one: what a summary does not tell."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchwatch.recording import spool
from orchwatch.store import small_answers, views
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection
    from orchwatch.store.small import Row

_STATUS_ERROR = 2  # OTLP
_NS_PER_S = 1e9

_COUNTED = """
SELECT operation, count(*) FILTER (status <> 2), count(*) FILTER (status = 2)
FROM ({chosen}) GROUP BY operation ORDER BY operation
"""
# Evenly some of them, by their end: what follows each other stays in order.
_THINNED = """
SELECT operation, duration_ns FROM (
    SELECT operation, duration_ns, end_ns, trace_id, span_id,
        row_number() OVER (PARTITION BY operation ORDER BY end_ns, trace_id, span_id) - 1 AS place,
        count(*) OVER (PARTITION BY operation) AS number
    FROM ({chosen}) WHERE status <> 2
)
WHERE number <= $most OR (place + 1) * $most // number <> place * $most // number
ORDER BY operation, end_ns, trace_id, span_id
"""
# As OTLP/JSON writes an attribute of a resource.
_PATTERN = r'"key":\s*"{key}",\s*"value":\s*\{\s*"stringValue":\s*("(?:[^"\\]|\\.)*")'
_SEEN = """
SELECT regexp_extract(resource, $pattern, 1) AS value, min(end_ns)
FROM operations WHERE operation IS NOT NULL AND value <> '' AND {where} GROUP BY value
"""
_OF_RESOURCE = """
SELECT * FROM operations
WHERE operation IS NOT NULL AND regexp_extract(resource, $pattern, 1) = $value AND {where}
"""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """One operation, as it was recorded.

    Attributes:
        operation: Its name.
        durations_s: Seconds of each that succeeded, by its end; of many, evenly some.
        succeeded: How many did.
        failed: How many did not.
    """

    operation: str
    durations_s: tuple[float, ...]
    succeeded: int
    failed: int


def read(
    store: Store | SmallStore,
    selection: Selection,
    *,
    most: int,
    of: tuple[str, str] | None = None,
) -> list[Samples]:
    """Each operation of a selection, by name.

    Args:
        store: What is asked.
        selection: A window and filters.
        most: How many durations of one operation.
        of: An attribute of the resource and the value it must have, e.g. `service.version`; then
            only of what was recorded here.
    """
    if isinstance(store, SmallStore):
        return _of_rows(small_answers.chosen(store, selection), most, of)
    if of is None:
        sql, values = views.chosen(store, selection)
    else:
        where, values = selection.where()
        sql = _OF_RESOURCE.format(where=where)
        values |= {"pattern": _pattern(of[0]), "value": json.dumps(of[1], ensure_ascii=False)}
    durations: defaultdict[str, list[float]] = defaultdict(list)
    for operation, duration_ns in store.query(
        _THINNED.format(chosen=sql), {**values, "most": most}
    ):
        durations[operation].append(duration_ns / _NS_PER_S)
    return [
        Samples(
            operation=operation,
            durations_s=tuple(durations[operation]),
            succeeded=succeeded,
            failed=failed,
        )
        for operation, succeeded, failed in store.query(_COUNTED.format(chosen=sql), values)
    ]


def values_of(store: Store | SmallStore, selection: Selection, key: str) -> list[str]:
    """The values of an attribute of the resource, in the order in which they were first seen."""
    seen: dict[str, int] = {}
    found: Iterable[Sequence[object]]
    if isinstance(store, SmallStore):
        found = [
            (value, row.end_ns)
            for row in selection.held(store.operations((spool.OPERATIONS,)))
            if (value := _value(row.resource, key))
        ]
    else:
        where, values = selection.where()
        found = store.query(_SEEN.format(where=where), {**values, "pattern": _pattern(key)})
    for text, end_ns in found:
        value = json.loads(str(text))
        seen[value] = min(int(str(end_ns)), seen.get(value, int(str(end_ns))))
    return sorted(seen, key=lambda value: (seen[value], value))


def _of_rows(rows: Iterable[Row], most: int, of: tuple[str, str] | None) -> list[Samples]:
    if of is not None:
        key, wanted = of
        rows = [
            row
            for row in rows
            if row.family == spool.OPERATIONS
            and json.loads(_value(row.resource, key) or "null") == wanted
        ]
    durations: defaultdict[str, list[float]] = defaultdict(list)
    failed: defaultdict[str, int] = defaultdict(int)
    for row in sorted(rows, key=lambda row: (row.end_ns, row.trace_id, row.span_id)):
        operation = row.operation or ""
        if row.status == _STATUS_ERROR:
            failed[operation] += 1
        else:
            durations[operation].append(row.duration_ns / _NS_PER_S)
    return [
        Samples(
            operation=operation,
            durations_s=tuple(_thinned(durations[operation], most)),
            succeeded=len(durations[operation]),
            failed=failed[operation],
        )
        for operation in sorted({*durations, *failed})
    ]


def _thinned(values: Sequence[float], most: int) -> Sequence[float]:
    number = len(values)
    if number <= most:
        return values
    return [
        value
        for place, value in enumerate(values)
        if (place + 1) * most // number != place * most // number
    ]


def _pattern(key: str) -> str:
    return _PATTERN.replace("{key}", re.escape(key))


def _value(resource: str, key: str) -> str:
    """As JSON; empty where it has none."""
    found = re.search(_pattern(key), resource)
    return found[1] if found else ""
