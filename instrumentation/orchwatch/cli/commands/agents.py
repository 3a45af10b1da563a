"""`orchwatch agents`: the agents that are stored on this machine, or what coding agents keep."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli import filters, list_command
from orchwatch.errors import UsageError

if TYPE_CHECKING:
    import argparse

HELP = "list agents, latest first: session, duration, failures, where the time went"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    list_command.add_arguments(parser)
    parser.add_argument(
        "--found",
        action="store_true",
        help="instead, which coding agents keep sessions on this machine: where, how many, of"
        " which version, how many were imported and what of them is not understood",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints them.

    Raises:
        UsageError: `--found` is given with a filter.
    """
    if not arguments.found:
        return list_command.run("agent", arguments)
    if given := filters.given(arguments):
        raise UsageError(f"agents: {given[0]} does not go with --found")
    from orchwatch.agents import inventory, registry  # noqa: PLC0415 - slow, see `commands`
    from orchwatch.cli.parser import columns  # noqa: PLC0415 - as above
    from orchwatch.reporters import agent_inventory  # noqa: PLC0415 - as above

    readers, broken = registry.known()
    readers.sort(key=lambda reader: reader.title)
    found = inventory.kept(readers, broken)
    if arguments.format == "json":
        agent_inventory.render_json(found, broken, sys.stdout)
    else:
        agent_inventory.render(found, broken, sys.stdout, columns())
    return 0
