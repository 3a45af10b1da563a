"""Counters and gauges: what is not a duration."""

from __future__ import annotations

from math import inf, isfinite

from orchwatch.recording import active, losses
from orchwatch.recording.otlp_json import INT64_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.recording.otlp_json import Attributes


def count(
    name: str, value: float = 1, attributes: Attributes | None = None, *, unit: str = ""
) -> None:
    """Adds to a counter. Never raises: what cannot be recorded is counted by `orchwatch doctor`.

    Args:
        name: E.g. `orchestration.task.completed`.
        value: 0 or more, in `unit`.
        attributes: Few, with bounded values: each combination is a time series.
        unit: UCUM, e.g. `By`, `s`, `{task}`.
    """
    _record(active.recorder.count, name, value, attributes, unit, lowest=0)


def gauge(name: str, value: float, attributes: Attributes | None = None, *, unit: str = "") -> None:
    """Sets a gauge to a measured value. Never raises; see `count` for the arguments."""
    _record(active.recorder.gauge, name, value, attributes, unit, lowest=-inf)


def _record(
    record: Callable[[str, float, Attributes | None, str], None],
    name: str,
    value: float,
    attributes: Attributes | None,
    unit: str,
    *,
    lowest: float,
) -> None:
    try:
        # Plain numbers only from here on: the repr of a subclass or a Decimal is not valid JSON.
        finite = isfinite(value)  # str or bytes raise here; `float` would parse them
        number = int(value) if isinstance(value, int) else float(value)
        fits = type(number) is float or -INT64_LIMIT <= number < INT64_LIMIT
        named = isinstance(name, str) and name and isinstance(unit, str)
        if named and finite and fits and number >= lowest:
            record(name, number, attributes, unit)
        else:
            losses.count("bad_metric")
    except (OverflowError, TypeError) as error:  # the value is not a number
        losses.count_error("bad_metric", error)
    except Exception as error:  # noqa: BLE001 - telemetry never breaks its host
        losses.count_error("internal_error", error)
