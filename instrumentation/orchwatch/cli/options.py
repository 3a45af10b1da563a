"""Options that several commands share, spelt alike."""

from __future__ import annotations

import argparse

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
