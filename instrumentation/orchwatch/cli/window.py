"""`--since` and `--until`: from when to when a command looks, the same words for all of them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from orchwatch.errors import UsageError

if TYPE_CHECKING:
    import argparse

DEFAULT = "24h"
ALL = "all"
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NUMBER = re.compile("[0-9]{1,6}")
_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FORMS = "90s, 15m, 24h, 7d, a time such as 2026-11-29T14:30"


def add_argument(parser: argparse.ArgumentParser, default: str = DEFAULT) -> None:
    """Declares `--since` alone."""
    parser.add_argument(
        "--since",
        metavar="WHEN",
        help=f"how far back: {_FORMS} (local), or all (default: {default})",
    )


def add_arguments(parser: argparse.ArgumentParser, default: str = DEFAULT) -> None:
    """Declares both."""
    add_argument(parser, default)
    parser.add_argument(
        "--until", metavar="WHEN", help="up to when, likewise; 24h is a day ago (default: now)"
    )


def check(arguments: argparse.Namespace) -> None:
    """Refuses what `since_ns` and `moment_ns` would, before anything is read.

    Raises:
        UsageError: One of the two is no window.
    """
    if arguments.since is not None:
        since_ns(arguments.since)
    if arguments.until is not None:
        moment_ns(arguments.until, "--until")


def length_s(window: str, option: str = "--since") -> int | None:
    """How long a window is; None for `all`.

    Args:
        window: Such as `24h`.
        option: What it was given to.

    Raises:
        UsageError: It is no window.
    """
    if window == ALL:
        return None
    number, unit_s = window[:-1], _UNITS_S.get(window[-1:])
    if unit_s is None or not _NUMBER.fullmatch(number):
        also = " or all" if option == "--since" else ""
        raise UsageError(f"{option} must be like 90s, 15m, 24h, 7d{also}, not {window!r}")
    return int(number) * unit_s


def since_ns(window: str) -> int | None:
    """The Unix time in nanoseconds at which a window begins; None for `all`.

    Raises:
        UsageError: It is no window.
    """
    return None if window == ALL else moment_ns(window, "--since")


def moment_ns(when: str, option: str) -> int:
    """A moment as Unix time in nanoseconds.

    Args:
        when: How long ago, or an ISO 8601 date or time, local unless it says otherwise.
        option: What it was given to.

    Raises:
        UsageError: It is neither.
    """
    number, unit_s = when[:-1], _UNITS_S.get(when[-1:])
    if unit_s is not None and _NUMBER.fullmatch(number):
        return time.time_ns() - int(number) * unit_s * _NS
    try:
        # In whole numbers: as a float, a moment of today may come out a microsecond early.
        return (datetime.fromisoformat(when).astimezone(UTC) - _EPOCH) // _MICROSECOND * 1000
    except (ValueError, OverflowError, OSError):
        also = " or all" if option == "--since" else ""
        raise UsageError(f"{option} must be like {_FORMS}{also}, not {when!r}") from None
