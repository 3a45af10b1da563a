"""Options that several commands share, spelt alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
