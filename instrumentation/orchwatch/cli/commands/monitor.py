"""`orchwatch monitor`: the long-running process that follows sessions as they happen."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.errors import CheckFailedError

if TYPE_CHECKING:
    import argparse

HELP = "follow coding agents' sessions and hooks, and export key figures, until interrupted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "--projects",
        nargs="+",
        metavar="PATH",
        help="only these folders of Claude Code's session files (default: what each agent keeps)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="check the running monitor: exit code 0 if it is healthy, otherwise 3",
    )


def run(arguments: argparse.Namespace) -> int:
    """Follows until SIGINT or SIGTERM."""
    if arguments.check:
        return _check()
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.agents import registry  # noqa: PLC0415
    from orchwatch.agents.claude_code.sessions import session_files  # noqa: PLC0415
    from orchwatch.monitor import process  # noqa: PLC0415

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    logging.getLogger("orchwatch").setLevel(logging.INFO)
    roots = [
        os.path.abspath(path) for path in arguments.projects or [session_files.projects_directory()]
    ]
    readers, broken = ([], []) if arguments.projects else registry.known()
    for line in broken:
        logging.getLogger("orchwatch").warning("agent left out: %s", line)
    others = [reader for reader in readers if reader.name != semconv.CLAUDE_CODE_SERVICE]
    process.run(roots, others, Path.cwd())
    return 0


def _check() -> int:
    """Says that the monitor follows.

    Raises:
        CheckFailedError: It does not, or none answers.
    """
    from orchwatch.monitor import heartbeat  # noqa: PLC0415 - slow, as above

    is_well, said = heartbeat.ask()
    if not is_well:
        raise CheckFailedError(said)
    sys.stdout.write(said + "\n")
    return 0
