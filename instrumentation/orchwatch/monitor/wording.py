"""Numbers in sentences, wherever a sentence is made."""

from __future__ import annotations

import math

_BINARY_STEP = 1024


def counted(number: int, noun: str) -> str:
    """`1 segment`, `2 segments`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


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
