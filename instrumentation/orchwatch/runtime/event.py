"""An event: what happened, in which session, how grave it is, and who says so."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from orchwatch.errors import OrchwatchError
from orchwatch.recording.safe_text import safe

Severity = Literal["debug", "info", "warning", "error", "critical"]

MAX_NAME_CHARACTERS = 256
MAX_DATA_BYTES = 16 * 1024 * 1024
_SEVERITIES = get_args(Severity)
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_MAX_TIME_NS = 2**63


class EventError(OrchwatchError):
    """An event cannot be kept or does not fit; the message names event and reason."""


def new_id() -> str:
    """A UUID of version 7: in the order of time, so that an index of them grows at its end.

    Source: RFC 9562, 5.7.
    """
    digits = f"{time.time_ns() // 1_000_000:012x}7{os.urandom(10).hex()}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        type: What, e.g. `task.completed`.
        session_id: In which session.
        data: The particulars, JSON.
        source: Who says so, e.g. an agent's name.
        severity: `debug`, `info`, `warning`, `error` or `critical`.
        time_ns: When, in nanoseconds since the epoch.
        id: One of its own; a log keeps one event of an id.
        position: Where it stands in the log, from 1; 0 for one that does not yet.
    """

    type: str
    session_id: str
    data: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    severity: Severity = "info"
    time_ns: int = field(default_factory=time.time_ns)
    id: str = field(default_factory=new_id)
    position: int = field(default=0, compare=False)

    @property
    def timestamp(self) -> str:
        """Its time in ISO 8601, UTC, to the microsecond."""
        return datetime.fromtimestamp(self.time_ns / 1e9, UTC).isoformat(timespec="microseconds")

    def as_json(self) -> dict[str, Any]:
        """The event as the requirements' tools read it."""
        return {
            "id": self.id,
            "session_id": self.session_id,
            "type": self.type,
            "severity": self.severity,
            "source": self.source,
            "timestamp": self.timestamp,
            "data": self.data,
        }


Row = tuple[str, str, str, str, str, int, str]


def to_row(event: Event) -> Row:
    """The event as a log keeps it.

    Raises:
        EventError: Something of it is not what an event may hold.
    """
    _check_name(event, "type", event.type)
    _check_name(event, "session_id", event.session_id)
    _check_name(event, "id", event.id)
    if event.source:
        _check_name(event, "source", event.source)
    if event.severity not in _SEVERITIES:
        known = ", ".join(_SEVERITIES)
        raise EventError(
            f"event {shown(event.type)}: severity must be one of {known}, "
            f"not {shown(event.severity)}"
        )
    time_ns = event.time_ns
    if type(time_ns) is not int or not 0 <= time_ns < _MAX_TIME_NS:
        raise EventError(
            f"event {shown(event.type)}: time_ns must be nanoseconds since 1970, "
            f"not {shown(time_ns)}"
        )
    return (
        event.id,
        event.session_id,
        event.type,
        event.severity,
        event.source,
        time_ns,
        _data(event),
    )


def shown(value: object) -> str:
    """Anything from outside as part of an error's line."""
    return safe(repr(value), 80)


def _check_name(event: Event, name: str, value: object) -> None:
    if type(value) is str and 0 < len(value) <= MAX_NAME_CHARACTERS and value.isprintable():
        return
    raise EventError(
        f"event {shown(event.type)}: {name} must be printable text of 1 to "
        f"{MAX_NAME_CHARACTERS} characters, not {shown(value)}"
    )


def _data(event: Event) -> str:
    if not isinstance(event.data, dict):
        raise EventError(
            f"event {shown(event.type)}: data must be a dict, not {type(event.data).__name__}"
        )
    if not event.data:
        return "{}"
    try:
        data = _encode(event.data)
    except (TypeError, ValueError, RecursionError) as error:
        raise EventError(f"event {shown(event.type)}: data is not JSON: {error}") from error
    if len(data) > MAX_DATA_BYTES:
        raise EventError(
            f"event {shown(event.type)}: data of {len(data)} bytes; "
            f"at most {MAX_DATA_BYTES} are kept"
        )
    return data
