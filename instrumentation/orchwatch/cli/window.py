"""`--since`: how far back a command looks."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from orchwatch.errors import UsageError

if TYPE_CHECKING:
    import argparse

_DEFAULT = "24h"
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NUMBER = re.compile("[0-9]{1,6}")


def add_argument(parser: argparse.ArgumentParser, default: str = _DEFAULT) -> None:
    """Declares the option."""
    parser.add_argument(
        "--since",
        default=default,
        metavar="WINDOW",
        help="how far back: 90s, 15m, 24h, 7d or all (default: %(default)s)",
    )


def length_s(window: str) -> int | None:
    """How long a window is; None for `all`.

    Raises:
        UsageError: It is no window.
    """
    if window == "all":
        return None
    number, unit_s = window[:-1], _UNITS_S.get(window[-1:])
    if unit_s is None or not _NUMBER.fullmatch(number):
        raise UsageError(f"--since must be like 90s, 15m, 24h, 7d or all, not {window!r}")
    return int(number) * unit_s


def since_ns(window: str) -> int | None:
    """The Unix time in nanoseconds at which a window that ends now begins; None for `all`.

    Raises:
        UsageError: It is no window.
    """
    seconds = length_s(window)
    return None if seconds is None else time.time_ns() - seconds * 1_000_000_000
