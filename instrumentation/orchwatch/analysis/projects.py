"""The projects of sessions, as their turns name them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.store.small import SmallStore

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchwatch.store.database import Store

# Turns name it, and are few.
_NAMED = """
SELECT session_id, min(attributes) FROM span
WHERE operation = $turn AND contains(attributes, $key)
    AND session_id IN (SELECT unnest($sessions::VARCHAR[]))
GROUP BY session_id
"""


def of_sessions(store: Store | SmallStore, session_ids: Sequence[str]) -> dict[str, str]:
    """The project of each session that names one, by session id.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    found = {}
    for session_id, attributes in _named(store, session_ids):
        for pair in json.loads(attributes):
            if pair["key"] == semconv.PROJECT_NAME:
                found[session_id] = str(pair["value"].get("stringValue", ""))
    return {session_id: name for session_id, name in found.items() if name}


def _named(store: Store | SmallStore, session_ids: Sequence[str]) -> Iterable[tuple[str, str]]:
    key = f'"{semconv.PROJECT_NAME}"'
    if not isinstance(store, SmallStore):
        asked = {"turn": semconv.AGENT_TURN, "key": key, "sessions": list(session_ids)}
        return [(row[0], row[1]) for row in store.query(_NAMED, asked)]
    wanted = set(session_ids)
    # In this order the last one stays, which is the least, as there.
    return sorted(
        (
            (row.session_id, row.attributes)
            for row in store.rows
            if row.operation == semconv.AGENT_TURN
            and row.session_id in wanted
            and row.attributes
            and key in row.attributes
        ),
        reverse=True,
    )
