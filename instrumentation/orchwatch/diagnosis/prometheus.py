"""How many operations Prometheus has counted, exactly.

`increase()` extrapolates to the edges of its window, so the raw samples are fetched and added up
here. A Collector that starts again counts from zero, and sends Prometheus a sample of zero
(created timestamps), so a value below its predecessor is the whole count since then.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.diagnosis.client import foreign, get_json

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPERATION_LABEL = semconv.OPERATION_NAME.replace(".", "_")
# Services that send over OTLP count for themselves, each as an instance; what the Collector counts
# from the spool belongs to none.
_COUNT = semconv.OPERATION_DURATION.replace(".", "_") + '_seconds_count{instance=""}'
# An hour of samples two seconds apart is an answer of about a megabyte.
_STEP_S = 3600
# Prometheus answers with at most 11,000 points: more than a year of steps.
_MAX_STEPS = 10_000


@dataclass
class CounterIncrease:
    """The increase of the counters.

    Attributes:
        operations: By operation.
        restarts: How often counters restarted, by the series with the most restarts.
        last_flushes_s: When a Collector that restarted had last sent its counts, in Unix
            seconds. It sends every series each time, so a series that did not change counts too.
    """

    operations: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    restarts: int = 0
    last_flushes_s: set[float] = field(default_factory=set)


def counted(url: str, *, since_s: float, until_s: float) -> CounterIncrease:
    """Adds up what the counters gained after `since_s` and up to `until_s` (Unix seconds).

    Raises:
        OrchwatchError: Prometheus cannot be reached, is something else, or goes on failing.
    """
    found = CounterIncrease()
    last: dict[tuple[tuple[str, str], ...], tuple[float, float]] = {}
    restarts: dict[tuple[tuple[str, str], ...], int] = defaultdict(int)
    for series in _samples(url, since_s, until_s):
        identity = tuple(sorted(series["metric"].items()))
        operation = series["metric"].get(_OPERATION_LABEL, "")
        for at_s, text in series["values"]:
            value = float(text)
            if math.isnan(value):
                continue
            before_s, before = last.get(identity, (at_s, 0.0))
            last[identity] = (at_s, value)
            if at_s <= since_s:
                continue
            if value < before:
                restarts[identity] += 1
                found.last_flushes_s.add(before_s)
                before = 0.0
            found.operations[operation] += round(value - before)
    found.restarts = max(restarts.values(), default=0)
    return found


def _samples(url: str, since_s: float, until_s: float) -> Iterator[Any]:
    """Series with raw samples, a step at a time, from a step before `since_s` on.

    A range leaves out its begin, so no sample comes twice. Steps without any are not asked for.
    """
    steps = min(math.ceil((until_s - since_s) / _STEP_S), _MAX_STEPS)
    held = _ask(
        url,
        "query_range",
        query=f"count(last_over_time({_COUNT}[{_STEP_S}s]))",
        start=f"{until_s - steps * _STEP_S:.3f}",
        end=f"{until_s:.3f}",
        step=str(_STEP_S),
    )
    for end_s, _ in held[0]["values"] if held else []:
        yield from _ask(url, "query", query=f"{_COUNT}[{_STEP_S}s]", time=f"{end_s:.3f}")


def _ask(url: str, path: str, **parameters: str) -> list[Any]:
    answer = get_json("Prometheus", url, f"/api/v1/{path}", **parameters)
    try:
        found: list[Any] = answer["data"]["result"]
    except (LookupError, TypeError):
        raise foreign("Prometheus", url) from None
    return found
