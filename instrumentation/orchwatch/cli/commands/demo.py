"""`orchwatch demo`: a real orchestration, measured against its targets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orchwatch.errors import UsageError

if TYPE_CHECKING:
    import argparse

HELP = "run a real orchestration of agents and show every operation against its target"

# One more than can compute at once, as now and then one waits; any more would only make the
# others' hooks and messages late.
DEFAULT_AGENTS = min(4, (os.cpu_count() or 1) + 1)
MAX_AGENTS = 64
# A run of these stores some 1.4 MB, so that several in a day stay within the target for storage.
DEFAULT_FILES = 440


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--agents",
        type=int,
        default=DEFAULT_AGENTS,
        metavar="N",
        help="worker processes (default: one more than there are cores, at most 4)",
    )
    parser.add_argument(
        "--files",
        type=int,
        default=DEFAULT_FILES,
        metavar="N",
        help=f"how many source files of the standard library to read (default: {DEFAULT_FILES})",
    )
    parser.add_argument(
        "--loop",
        action="store_true",
        help="start over repeatedly, until interrupted or terminated",
    )


def run(args: argparse.Namespace) -> int:
    """Run the orchestration once, or until a signal ends it.

    Raises:
        UsageError: A number is out of range.
        DemoError: The agents did not find what one process alone finds.
    """
    if not 1 <= args.agents <= MAX_AGENTS:
        raise UsageError(f"demo: --agents must be from 1 to {MAX_AGENTS}, not {args.agents}")
    if args.files < 1:
        raise UsageError(f"demo: --files must be at least 1, not {args.files}")
    from orchwatch.demo import program  # noqa: PLC0415 - slow, see `commands`

    with program.opened(args.agents, args.files) as opened:
        if args.loop:
            opened.loop()
        else:
            opened.once()
    return 0
