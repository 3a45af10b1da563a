"""What known gauges were, step by step, as far back as the spool holds them."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from orchwatch.recording import spool
from orchwatch.store import segments

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

# Some two weeks of the monitor's figures.
_MAX_BYTES = 32 * 1024 * 1024
_BROKEN = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)


def read(
    home: Path, names: Collection[str], *, since_ns: int, until_ns: int, step_ns: int
) -> dict[str, dict[int, float]]:
    """The highest value of each gauge in each step, by its name and the step's begin.

    Args:
        home: The home directory.
        names: Of the gauges.
        since_ns: Where the past begins, in Unix nanoseconds.
        until_ns: Where it ends.
        step_ns: How long a step is.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in names}
    marks = [json.dumps(name).encode() for name in names]
    for line in segments.latest_lines(home, spool.METRICS, since_ns=since_ns, most=_MAX_BYTES):
        if not any(mark in line for mark in marks):
            continue
        try:
            points = list(_points(json.loads(line), found))
        except _BROKEN:
            continue  # `doctor` names unreadable lines
        for name, at_ns, value in points:
            if since_ns <= at_ns <= until_ns and math.isfinite(value):
                start_ns = at_ns // step_ns * step_ns
                steps = found[name]
                steps[start_ns] = max(value, steps.get(start_ns, value))
    return found


def _points(document: dict[str, Any], names: Collection[str]) -> Iterator[tuple[str, int, float]]:
    for resource in document.get("resourceMetrics", []):
        for scope in resource.get("scopeMetrics", []):
            for metric in scope.get("metrics", []):
                if metric["name"] in names:
                    for point in (metric.get("gauge") or {}).get("dataPoints", []):
                        value = point["asInt"] if "asInt" in point else point["asDouble"]
                        yield metric["name"], int(point["timeUnixNano"]), float(value)
