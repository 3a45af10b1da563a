"""Counters and gauges that programs record of their own, from the spool: no server is needed.

Those of this package and the SDK's host metrics appear among levels and key figures, and are left
out, but for what the runtime says of itself. A gauge has the latest value of each combination of
resource and attributes that was set within five minutes before the last one, as Prometheus drops
older ones. A counter has what was added within the window.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from orchwatch import semconv
from orchwatch.recording import spool
from orchwatch.store import segments

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from orchwatch.targets.target_table import LevelTarget

Kind = Literal["gauge", "counter"]

PREFIX = "orchestration."
"""What a level's id is preceded by in the name of its gauge."""

MAX_NAMES = 100
"""At most this many are kept: the first by name."""

_STALE_NS = 300 * 1_000_000_000
_MAX_BYTES = 8 * 1024 * 1024
_DELTA = 1  # OTLP
_NAME = re.compile(rb'\{"name":\s*"((?:[^"\\]|\\.){1,200})"')
_FOREIGN = ("process.", "system.", "cpython.", "http.", "otel.", "claude_code.")
_KNOWN = frozenset(
    value
    for key, value in vars(semconv).items()
    if key.isupper() and isinstance(value, str) and value.startswith(PREFIX)
).difference(semconv.RUNTIME_METRICS)
_BROKEN = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A counter or a gauge.

    Attributes:
        name: Its recorded name.
        kind: Which of the two.
        unit: UCUM; empty where none was given.
        values: Of a gauge the latest one of each combination; of a counter one, what was added.
        at_ns: When it was recorded last, in Unix nanoseconds.
    """

    name: str
    kind: Kind
    unit: str
    values: tuple[float, ...]
    at_ns: int

    def worst(self, direction: str) -> float:
        """The value that a target has to judge: the highest that should be below it."""
        return max(self.values) if direction == "below" else min(self.values)


@dataclass
class _Series:
    at_ns: int = 0
    value: float = 0.0
    before: float | None = None
    added: float = 0.0


def read(
    home: Path, rows: Mapping[str, LevelTarget], *, since_ns: int | None, until_ns: int | None
) -> dict[str, Metric]:
    """What was recorded within a window, by name.

    Args:
        home: The home directory.
        rows: The levels of the table: those that a user has added are kept.
        since_ns: Where the window begins, in Unix nanoseconds.
        until_ns: Where it ends.
    """
    since_ns = since_ns or 0
    until_ns = time.time_ns() if until_ns is None else until_ns
    mine = {PREFIX + row_id for row_id in rows}
    found: defaultdict[tuple[str, Kind, str], defaultdict[str, _Series]] = defaultdict(
        lambda: defaultdict(_Series)
    )
    for line in segments.latest_lines(home, spool.METRICS, since_ns=since_ns, most=_MAX_BYTES):
        names = {name.decode("utf-8", "replace") for name in _NAME.findall(line)}
        if not any(_is_own(name, mine) for name in names):
            continue  # most lines, which need not be parsed then
        try:
            for name, kind, unit, key, point in _points(json.loads(line)):
                if _is_own(name, mine):
                    _add(found[name, kind, unit][key], kind, point, (since_ns, until_ns))
        except _BROKEN:
            continue  # `doctor` names unreadable lines
    metrics: dict[str, Metric] = {}
    for (name, kind, unit), series in sorted(found.items()):
        metric = _metric(name, kind, unit, [one for one in series.values() if one.at_ns])
        if metric is not None and len(metrics) < MAX_NAMES:
            metrics[name] = metric
    return metrics


def _is_own(name: str, mine: set[str]) -> bool:
    return (name not in _KNOWN or name in mine) and not name.startswith(_FOREIGN)


def _points(
    document: dict[str, Any],
) -> Iterator[tuple[str, Kind, str, str, dict[str, Any]]]:
    for resource in document.get("resourceMetrics", []):
        of_resource = json.dumps(resource.get("resource"))
        for scope in resource.get("scopeMetrics", []):
            for metric in scope.get("metrics", []):
                for kind, key in (("gauge", "gauge"), ("counter", "sum")):
                    data = metric.get(key) or {}
                    for point in data.get("dataPoints", []):
                        series = of_resource + json.dumps(point.get("attributes"))
                        value = {**point, "delta": data.get("aggregationTemporality") == _DELTA}
                        is_counter = kind == "counter" and data.get("isMonotonic")
                        # What goes up and down is a level.
                        shown: Kind = "counter" if is_counter else "gauge"
                        name, unit = metric["name"], metric.get("unit", "")
                        if isinstance(name, str) and isinstance(unit, str):
                            yield name, shown, unit, series, value


def _add(series: _Series, kind: str, point: dict[str, Any], window: tuple[int, int]) -> None:
    at_ns = int(point["timeUnixNano"])
    value = float(point["asInt"] if "asInt" in point else point["asDouble"])
    if at_ns > window[1] or not math.isfinite(value):
        return
    if kind == "counter" and not point["delta"]:
        # Its last point before the window, or its start, shows what it had counted by then.
        if at_ns < window[0]:
            series.before = value
            return
        began = int(point.get("startTimeUnixNano", 0)) >= window[0]
        if series.before is None or value < series.before:
            series.before = 0.0 if began or series.before is not None else value
        series.added += value - series.before
        series.before = value
    elif at_ns < window[0]:
        return
    else:
        series.added += value
    if at_ns >= series.at_ns:
        series.at_ns, series.value = at_ns, value


def _metric(name: str, kind: Kind, unit: str, series: list[_Series]) -> Metric | None:
    if not series:
        return None
    at_ns = max(one.at_ns for one in series)
    values = tuple(one.value for one in series if one.at_ns >= at_ns - _STALE_NS)
    if kind == "counter":
        values = (sum((one.added for one in series), 0.0),)
    return Metric(name=name, kind=kind, unit=unit, values=values, at_ns=at_ns)
