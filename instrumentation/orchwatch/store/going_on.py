"""Operations that are open now, as far as their processes have noted them.

See `orchwatch.recording.in_flight` for what is noted: long ones, and the first of each name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch import semconv
from orchwatch.recording import files, in_flight
from orchwatch.store import unfinished

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_IDENTITY_PARTS = 4


class Open(NamedTuple):
    """An operation that has not ended.

    Attributes:
        pid: Of its process; None where that runs among others, in a container.
        trace_id: Hexadecimal.
        span_id: Likewise.
        parent_span_id: Likewise; empty where nothing called it.
        operation: Its name.
        start_ns: When it began, in Unix nanoseconds.
        session_id: None where it names none, as for all that follow.
        agent: The agent's name, else its id.
        tool: Which tool is called.
        waits_for: What a person is waited for.
    """

    pid: int | None
    trace_id: str
    span_id: str
    parent_span_id: str
    operation: str
    start_ns: int
    session_id: str | None
    agent: str | None
    tool: str | None
    waits_for: str | None


def operations(home: Path) -> list[Open]:
    """Those of processes that run, by their start; call `unfinished.close` before.

    A home that cannot be read has none.
    """
    directory = home / in_flight.DIRECTORY
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    found: list[Open] = []
    for name in names:
        if name.startswith("."):
            continue
        try:
            data = files.read(directory / name, unfinished.FILE_BYTES, links=False)
        except OSError:  # gone meanwhile, or another user's
            continue
        found += _of_process(data)
    return sorted(found, key=lambda one: (one.start_ns, one.span_id))


def _of_process(data: bytes) -> Iterator[Open]:
    identity, _, _ = unfinished.header(data)
    pid = None
    if len(identity) == _IDENTITY_PARTS and identity[0].isdecimal():
        pid = int(identity[0]) if identity[2] == in_flight.namespace() else None
    for slot in unfinished.slots(data):
        attributes = _strings(slot["attributes"])
        yield Open(
            pid=pid,
            trace_id=slot["traceId"],
            span_id=slot["spanId"],
            parent_span_id=str(slot.get("parentSpanId", "")),
            operation=attributes.get(semconv.OPERATION_NAME, str(slot.get("name", ""))),
            start_ns=int(slot["startTimeUnixNano"]),
            session_id=attributes.get(semconv.SESSION_ID),
            agent=attributes.get(semconv.GEN_AI_AGENT_NAME)
            or attributes.get(semconv.GEN_AI_AGENT_ID),
            tool=attributes.get(semconv.GEN_AI_TOOL_NAME),
            waits_for=attributes.get(semconv.WAIT_REASON),
        )


def _strings(pairs: list[Any]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        value = pair.get("value") if isinstance(pair, dict) else None
        text = value.get("stringValue") if isinstance(value, dict) else None
        if isinstance(text, str) and text:
            found[str(pair.get("key"))] = text
    return found
