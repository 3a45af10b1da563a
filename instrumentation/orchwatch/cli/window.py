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
RANGE = ".."
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
    """Refuses what `since_ns` and `until_ns` would, before anything is read.

    Raises:
        UsageError: One of the two is no window.
    """
    if arguments.since is not None:
        since_ns(arguments.since)
    if arguments.until is not None:
        until_ns(arguments.until)


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


def since_ns(window: str, option: str = "--since") -> int | None:
    """The Unix time in nanoseconds at which a window begins; None for `all`.

    Raises:
        UsageError: It is no window, or begins in the future, where nothing can have ended.
    """
    if window == ALL:
        return None
    found = _moment_ns(window, option)
    if found > time.time_ns():
        raise UsageError(f"{option} must not lie in the future, and {window!r} does")
    return found


def until_ns(when: str, option: str = "--until") -> int:
    """The Unix time in nanoseconds at which a window ends; it may lie in the future.

    Raises:
        UsageError: It is no such moment.
    """
    return _moment_ns(when, option)


def range_ns(window: str, option: str) -> tuple[int | None, int]:
    """When a range such as `48h..24h` begins and ends, as `since_ns` and `until_ns` have it.

    Raises:
        UsageError: It is no range, or ends before it begins.
    """
    since, _, until = window.partition(RANGE)
    if not since or not until:
        raise UsageError(f"{option} must be like 48h..24h, not {window!r}")
    begins, ends = since_ns(since, option), until_ns(until, option)
    if begins is not None and begins > ends:
        raise UsageError(f"{option} must begin before it ends, as 48h..24h does, not {window!r}")
    return begins, ends


def shown(when: str) -> str:
    """A moment as a person reads it: `24h ago`, a time as it was given, one with a zone in UTC."""
    if when[-1:] in _UNITS_S and _NUMBER.fullmatch(when[:-1]):
        return f"{when} ago"
    moment = datetime.fromisoformat(when)
    return when if moment.tzinfo is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _moment_ns(when: str, option: str) -> int:
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
