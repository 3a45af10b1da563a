"""The cost of sessions, as each of their processes recorded it when it ended."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchwatch.store.database import Store

_RECORDS = """
SELECT DISTINCT ON (trace_id, span_id) session_id, attributes FROM span
WHERE name = $name AND operation IS NULL AND attributes IS NOT NULL
    AND session_id IN (SELECT unnest($sessions::VARCHAR[]))
"""


@dataclass(kw_only=True)
class Cost:
    """Added up over all of a session's processes.

    Attributes:
        usd: In US dollars.
        api_s: Seconds that requests to models took.
        tools_s: Seconds that tool calls took.
        models_usd: US dollars by model.
    """

    usd: float = 0.0
    api_s: float = 0.0
    tools_s: float = 0.0
    models_usd: dict[str, float] = field(default_factory=dict)

    def add(self, attributes: dict[str, Any]) -> None:
        """Adds one record, as its attributes."""
        self.usd += _number(attributes.get(semconv.SESSION_COST_USD))
        self.api_s += _number(attributes.get(semconv.SESSION_API_TIME))
        self.tools_s += _number(attributes.get(semconv.SESSION_TOOLS_TIME))
        models = _list(attributes.get(semconv.SESSION_MODELS))
        costs = _list(attributes.get(semconv.SESSION_MODEL_COSTS))
        for model, cost in zip(models, costs, strict=False):
            name = str(model.get("stringValue", ""))
            self.models_usd[name] = self.models_usd.get(name, 0.0) + _number(cost)


def of_sessions(store: Store | SmallStore, session_ids: Sequence[str]) -> dict[str, Cost]:
    """The cost of each session that reports one, whenever that was, by session id.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    found: dict[str, Cost] = {}
    # Sorted, as the order of a sum decides its last digit.
    for session_id, attributes in sorted(_records(store, session_ids)):
        values = {pair["key"]: pair["value"] for pair in json.loads(attributes)}
        found.setdefault(session_id, Cost()).add(values)
    return found


def _records(store: Store | SmallStore, session_ids: Sequence[str]) -> Iterable[tuple[str, str]]:
    if not isinstance(store, SmallStore):
        asked = {"name": semconv.SESSION_COST, "sessions": list(session_ids)}
        return [(row[0], row[1]) for row in store.query(_RECORDS, asked)]
    once = {
        (row.trace_id, row.span_id): (row.session_id or "", row.attributes)
        for row in store.rows
        if row.name == semconv.SESSION_COST and row.operation is None and row.attributes
    }
    return [record for record in once.values() if record[0] in set(session_ids)]


def _number(value: object) -> float:
    """An OTLP/JSON value as a float, 0 where it is not a number."""
    pair = value if isinstance(value, dict) else {}
    number: Any = pair.get("doubleValue", pair.get("intValue"))
    try:
        return float(number)
    except (TypeError, ValueError):
        return 0.0


def _list(value: object) -> list[Any]:
    array = value.get("arrayValue") if isinstance(value, dict) else None
    values = array.get("values") if isinstance(array, dict) else None
    return [one for one in values if isinstance(one, dict)] if isinstance(values, list) else []
