"""Alerts in the event stream: one log record, `performance_alert`, when one fires and when it ends.

They are stored in the spool's family `events`, as OTLP/JSON like everything there. The only readers
are `orchwatch events`, and the monitor process, which must not write an event twice.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from orchwatch import semconv
from orchwatch.recording import spool
from orchwatch.recording.otlp_json import (
    LINE_SUFFIX,
    encode_attributes,
    encode_log_record,
    logs_prefix,
)
from orchwatch.store import segments

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from orchwatch.recording.otlp_json import AttributeValue

State = Literal["firing", "resolved"]

# What detected it.
ALERTMANAGER = "alertmanager"
MONITOR = "monitor"

SERVICE_NAME = "orchwatch-monitor"

_NS = 1_000_000_000
_LAST_NS = 2**63 - 1
_STATES: tuple[State, ...] = ("firing", "resolved")
# OTLP's numbers.
_INFO, _WARN, _ERROR = 9, 13, 17
_SEVERITY_NUMBERS = {"warning": _WARN, "critical": _ERROR}


@dataclass(frozen=True, kw_only=True)
class AlertEvent:
    """An alert that began to fire, or has ended.

    Attributes:
        name: The alert's name.
        state: `firing` or `resolved`.
        severity: `info`, `warning` or `critical`; alerts of other rules keep theirs.
        summary: One sentence with value and unit.
        start_ns: When it began to fire, Unix time in nanoseconds.
        end_ns: When it ended, the same; None while it fires.
        fingerprint: Identifies it among alerts of the same name.
        evaluator: `ALERTMANAGER`, or `MONITOR` where that saw it without a server.
        kind: `burn`, `threshold`, …; None where it is not given, as for all that follow.
        target: Row of the table.
        operation: The operation that it is about.
        value: What was measured, in the row's unit.
        recommendation: What to do.
        runbook: URL of its runbook entry.
        dashboard: URL of its dashboard.
        labels: Its other labels.

    Raises:
        ValueError: A moment lies before 1970, or beyond what OTLP can say (2262).
    """

    name: str
    state: State
    severity: str
    summary: str
    start_ns: int
    end_ns: int | None = None
    fingerprint: str
    evaluator: str
    kind: str | None = None
    target: str | None = None
    operation: str | None = None
    value: float | None = None
    recommendation: str | None = None
    runbook: str | None = None
    dashboard: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for moment_ns in (self.start_ns, self.end_ns or 0):
            if not 0 <= moment_ns <= _LAST_NS:
                raise ValueError(moment_ns)

    @property
    def key(self) -> tuple[str, str, int]:
        """Equal for all reports of one transition."""
        return self.fingerprint, self.state, self.start_ns if self.end_ns is None else self.end_ns

    @property
    def subject(self) -> tuple[str, str | None]:
        """What it is about, for any evaluator."""
        return self.name, self.target

    @property
    def time_ns(self) -> int:
        """When it happened."""
        return self.start_ns if self.end_ns is None else self.end_ns

    @property
    def fired_s(self) -> float | None:
        """How long it fired; None while it does."""
        return None if self.end_ns is None else max(0, self.end_ns - self.start_ns) / _NS

    def encode(self, observed_ns: int) -> str:
        """A line of the spool."""
        attributes: dict[str, AttributeValue | None] = {
            semconv.ALERT_NAME: self.name,
            semconv.ALERT_STATE: self.state,
            semconv.ALERT_SEVERITY: self.severity,
            semconv.ALERT_START: self.start_ns,
            semconv.ALERT_END: self.end_ns,
            semconv.ALERT_DURATION: self.fired_s,
            semconv.ALERT_FINGERPRINT: self.fingerprint,
            semconv.ALERT_EVALUATOR: self.evaluator,
            **{key: getattr(self, name) for name, key in _OPTIONAL.items()},
            **{semconv.ALERT_LABEL_PREFIX + name: text for name, text in self.labels.items()},
        }
        fires = self.end_ns is None
        record = encode_log_record(
            event=semconv.PERFORMANCE_ALERT,
            time_ns=self.time_ns,
            observed_ns=observed_ns,
            severity=_SEVERITY_NUMBERS.get(self.severity, _INFO) if fires else _INFO,
            severity_text=self.severity if fires else self.state,
            body=self.summary,
            attributes=encode_attributes(
                {key: value for key, value in attributes.items() if value is not None}
            ),
        )
        return f"{_PREFIX}{record}{LINE_SUFFIX}"


_OPTIONAL = {
    "kind": semconv.ALERT_KIND,
    "target": semconv.ALERT_TARGET,
    "operation": semconv.OPERATION_NAME,
    "value": semconv.ALERT_VALUE,
    "recommendation": semconv.ALERT_RECOMMENDATION,
    "runbook": semconv.ALERT_RUNBOOK,
    "dashboard": semconv.ALERT_DASHBOARD,
}
_PREFIX = logs_prefix(encode_attributes({semconv.SERVICE_NAME: SERVICE_NAME}))


def read(line: bytes) -> Iterator[AlertEvent]:
    """The alerts in a line; none where it is a header, or what a killed writer left of a line."""
    try:
        for resource in json.loads(line)["resourceLogs"]:
            for scope in resource["scopeLogs"]:
                for record in scope["logRecords"]:
                    if record["eventName"] == semconv.PERFORMANCE_ALERT:
                        yield _decode(record)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return


def latest(directory: Path, most: int) -> list[AlertEvent]:
    """The events that were written last, at least this many where there are, oldest first.

    Args:
        directory: The spool's.
        most: Once this many are found, older segments are not read.
    """
    found: list[AlertEvent] = []
    for segment in reversed(segments.find(directory, (spool.EVENTS,))):
        try:
            found[:0] = [
                event
                for piece, _ in segments.read(segment, 0)
                for line in piece.splitlines()
                for event in read(line)
            ]
        except OSError:  # dropped meanwhile, or not ours to read
            continue
        if len(found) >= most:
            break
    return found


def _decode(record: Mapping[str, Any]) -> AlertEvent:
    values: dict[str, Any] = {pair["key"]: _value(pair["value"]) for pair in record["attributes"]}
    state = values[semconv.ALERT_STATE]
    if state not in _STATES:
        raise ValueError(state)
    optional = {name: values[key] for name, key in _OPTIONAL.items() if key in values}
    value = optional.pop("value", None)
    return AlertEvent(
        name=str(values[semconv.ALERT_NAME]),
        state=state,
        severity=str(values[semconv.ALERT_SEVERITY]),
        summary=str(record["body"]["stringValue"]),
        start_ns=int(values[semconv.ALERT_START]),
        end_ns=int(values[semconv.ALERT_END]) if state == "resolved" else None,
        fingerprint=str(values[semconv.ALERT_FINGERPRINT]),
        evaluator=str(values[semconv.ALERT_EVALUATOR]),
        value=_finite(value),
        **{name: str(text) for name, text in optional.items()},
        labels={
            key.removeprefix(semconv.ALERT_LABEL_PREFIX): str(value)
            for key, value in values.items()
            if key.startswith(semconv.ALERT_LABEL_PREFIX)
        },
    )


def _finite(value: Any) -> float | None:
    number = None if value is None else float(value)
    return number if number is not None and math.isfinite(number) else None


def _value(value: Any) -> str | int | float:
    if not isinstance(value, dict) or not value:
        raise ValueError("no value of an attribute")
    kind, content = next(iter(value.items()))
    if kind == "intValue":
        return int(content)
    return float(content) if kind == "doubleValue" else str(content)
