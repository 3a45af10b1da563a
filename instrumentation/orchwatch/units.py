"""Figures as a person reads them, wherever they are shown: three digits and a unit."""

from __future__ import annotations

import math

ABSENT = "-"

_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 24 * _HOUR_S
_FINEST_PERCENT = 0.01
_BINARY_STEP = 1024
_DECIMAL_STEP = 1000


def duration(seconds: float | None) -> str:
    """`850µs`, `1.23ms`, `45.6s`, `12m05s`, `1h02m`, `3d04h`; a dash for None."""
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
    if whole_s < _DAY_S:
        return f"{whole_s // _HOUR_S}h{whole_s % _HOUR_S // _MINUTE_S:02}m"
    return f"{whole_s // _DAY_S}d{whole_s % _DAY_S // _HOUR_S:02}h"


def every(seconds: float) -> str:
    """How often, of what recurs in whole seconds: `every minute`, `every 5 minutes`."""
    for noun, unit_s in (("day", _DAY_S), ("hour", _HOUR_S), ("minute", _MINUTE_S)):
        if seconds >= unit_s and seconds % unit_s == 0:
            number = int(seconds // unit_s)
            return f"every {noun}" if number == 1 else f"every {number} {noun}s"
    return "every second" if seconds == 1 else f"every {three_digits(seconds)} seconds"


def age(seconds: float) -> str:
    """How long ago something was: a duration of whole seconds, never of less than none."""
    return duration(whole_s) if (whole_s := round(seconds)) > 0 else "0s"


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


def counted(number: int, noun: str) -> str:
    """`1 segment`, `2 segments`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def amount(number: int) -> str:
    """`532`, `12.3k`, `31.9M`: how many, by thousands."""
    value = float(number)
    for unit in ("", "k", "M"):
        if float(three_digits(value)) < _DECIMAL_STEP:
            return three_digits(value) + unit
        value /= _DECIMAL_STEP
    return three_digits(value) + "G"


def size(value_bytes: float) -> str:
    """`512B`, `1.5KiB`, `10MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if float(three_digits(value_bytes)) < _BINARY_STEP:
            return three_digits(value_bytes) + unit
        value_bytes /= _BINARY_STEP
    return three_digits(value_bytes) + "GiB"


def three_digits(value: float) -> str:
    """At least three significant digits, never an exponent, no trailing zeros."""
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
