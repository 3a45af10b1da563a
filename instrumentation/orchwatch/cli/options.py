"""Options that several commands share, spelt alike."""

from __future__ import annotations

import argparse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

COLORS = ("auto", "always", "never")


def add_format(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Declares `--format`."""
    parser.add_argument(
        "--format",
        choices=("table", "json"),
        default="table",
        help=f"default: %(default)s{more}; docs/json.md has the keys of json",
    )


def add_color(parser: argparse.ArgumentParser) -> None:
    """Declares `--color`."""
    parser.add_argument(
        "--color",
        choices=COLORS,
        default="auto",
        help="auto: on a terminal, unless NO_COLOR is set (default: %(default)s)",
    )


def add_limit(parser: argparse.ArgumentParser, default: int | None, meant: str = "") -> None:
    """Declares `--limit`; 0 stands for all. `meant` says what no default does."""
    parser.add_argument(
        "--limit",
        type=_number,
        default=default,
        metavar="N",
        help=f"how many at most, the latest (default: {meant or default}; 0: all)",
    )


def _number(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"must be a whole number, 0 or more, not {text!r}")
    return number


def whole(lowest: int, highest: int) -> Callable[[str], int]:
    """The type of an option that is a whole number within bounds."""

    def parsed(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = lowest - 1
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {lowest} to {highest}, not {text!r}"
            )
        return value

    return parsed


def number(lowest: float, highest: float) -> Callable[[str], float]:
    """The type of an option that is a number within bounds."""

    def parsed(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = lowest - 1
        if not lowest <= value <= highest:  # nor is NaN
            raise argparse.ArgumentTypeError(
                f"must be a number from {lowest:.12g} to {highest:.12g}, not {text!r}"
            )
        return value

    return parsed
