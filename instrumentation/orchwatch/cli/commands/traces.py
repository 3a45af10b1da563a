"""`orchwatch traces`: the traces that are stored on this machine, the latest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.cli import list_command

if TYPE_CHECKING:
    import argparse

HELP = "list traces, latest first: first operation, duration, failures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    list_command.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints them."""
    return list_command.run("trace", arguments)
