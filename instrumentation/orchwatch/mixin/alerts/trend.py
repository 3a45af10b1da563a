"""A straight line through the past that crosses a limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.mixin.lib import promql
from orchwatch.mixin.lib.promql import all_of, number

if TYPE_CHECKING:
    from orchwatch.mixin.lib.alerting import Settings

# How often a past is looked at to see how much of it is there, however often it was recorded.
_LOOKS = 60


def crosses(series: str, limit: float, sign: str, settings: Settings, prefix: str = "") -> str:
    """Not beyond the limit yet, and soon.

    Both the whole trend and its younger half must say so: what only rose at its beginning, or fell
    back since, does not.

    Args:
        series: What is followed.
        limit: In the series' unit.
        sign: How what is beyond the limit compares with it, `>`, or `<=` for the least there is.
        settings: Trends and horizons.
        prefix: `slow_` for the slow ones.
    """
    trend, horizon = settings.prediction[f"{prefix}trend"], settings.prediction[f"{prefix}horizon"]
    fine = {">": "<=", "<=": ">="}[sign]
    lines = [
        f"predict_linear({series}[{past}], {promql.seconds(horizon)}) {sign} {number(limit)}"
        for past in (trend, promql.duration(promql.seconds(trend) // 2))
    ]
    return all_of(
        f"{series} {fine} {number(limit)}",
        *lines,
        is_there(series, trend, settings.prediction["filled"]),
    )


def is_there(series: str, past: str, share: float, offset: str = "") -> str:
    """So much of a past has samples: a few say nothing about it."""
    step = promql.duration(promql.seconds(past) // _LOOKS)
    return f"count_over_time({series}[{past}:{step}]{offset}) >= {number(share * _LOOKS)}"
