"""Figures as a person reads them: three digits and a unit."""

from __future__ import annotations

from orchwatch.monitor.wording import size, three_digits

__all__ = ["ABSENT", "duration", "level", "share", "size", "three_digits", "whole_share"]

ABSENT = "-"

_MINUTE_S = 60
_HOUR_S = 3600
_FINEST_PERCENT = 0.01


def duration(seconds: float | None) -> str:
    """`850µs`, `1.23ms`, `45.6s`, `12m05s`, `1h02m`; a dash for None."""
    if seconds is None:
        return ABSENT
    for unit, factor in (("µs", 1e6), ("ms", 1e3), ("s", 1.0)):
        text = three_digits(seconds * factor)
        limit = _MINUTE_S if unit == "s" else 1000
        if float(text) < limit:
            return text + unit
    whole_s = round(seconds)
    if whole_s < _HOUR_S:
        return f"{whole_s // _MINUTE_S}m{whole_s % _MINUTE_S:02}s"
    return f"{whole_s // _HOUR_S}h{whole_s % _HOUR_S // _MINUTE_S:02}m"


def share(value: float | None) -> str:
    """Per cent; `100%` is said of all and nothing less, `0%` of none."""
    if value is None:
        return ABSENT
    percent = round(value * 100, 2)
    if 0 < value < 1:
        percent = min(max(percent, _FINEST_PERCENT), 100 - _FINEST_PERCENT)
    return f"{percent:.2f}".rstrip("0").rstrip(".") + "%"


def whole_share(value: float | None) -> str:
    """Whole per cent, for a look at many; `<1%` of what is not nothing."""
    if value is None:
        return ABSENT
    return "<1%" if 0 < value < 0.005 else f"{value:.0%}"  # noqa: PLR2004 - what rounds to 0


def level(value: float | None, unit: str) -> str:
    """A value of the targets table in its unit."""
    if value is None:
        return ABSENT
    if unit == "1":
        return share(value)
    if unit == "By":
        return size(value)
    number = three_digits(value)
    return f"{number} {unit.replace('{', '').replace('}', '' if number == '1' else 's')}"
