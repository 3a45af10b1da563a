# ruff: noqa: N999 - a module is named as its command
"""`orchwatch import`: recorded sessions of coding agents into the history."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli import importing, options, window

if TYPE_CHECKING:
    import argparse

HELP = "add coding agents' recorded sessions to the history; those added before are skipped"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="session files or directories (default: where each agent keeps its own)",
    )
    parser.add_argument(
        "--agent",
        metavar="NAME",
        help="only this agent's sessions; `orchwatch agents --found` lists them",
    )
    parser.add_argument(
        "--since",
        default="all",
        metavar="WINDOW",
        help="only sessions written to in the last 90s, 15m, 24h, 7d or all (default: %(default)s)",
    )
    options.add_format(parser)


def run(arguments: argparse.Namespace) -> int:
    """Imports, and prints what that added and where Grafana shows it.

    Raises:
        OrchwatchError: A path does not exist, or is a file of no session; or the home cannot be
            written.
    """
    from orchwatch.agents import registry  # noqa: PLC0415 - slow, see `commands`

    since_ns = window.since_ns(arguments.since)
    if arguments.agent is None:
        readers, broken = registry.known()
    else:
        readers, broken = [registry.named(arguments.agent)], []
    found, strange = registry.find(readers, arguments.paths, broken)
    for line in broken:
        sys.stderr.write(f"orchwatch: agent left out: {line}\n")
    if since_ns is not None:
        found = [one for one in found if registry.written_ns(one.session) >= since_ns]
    importing.add(found, strange, arguments.format, arguments.paths)
    return 0
