"""`orchwatch fleet run`: becomes the agent Collector."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orchwatch.errors import OrchwatchError

if TYPE_CHECKING:
    import argparse

HELP = "run the agent: the Collector that follows the spool and sends it to the gateway"

_COLLECTORS = ("otelcol", "otelcol-contrib")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "--collector",
        metavar="FILE",
        help=f"the Collector's program (default: {' or '.join(_COLLECTORS)} in PATH)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Replaces this process by the Collector, which ends as it does.

    Raises:
        OrchwatchError: This machine has joined no fleet, or there is no Collector.
    """
    import shutil  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.diagnosis.fleet import membership  # noqa: PLC0415
    from orchwatch.mixin import stack_files  # noqa: PLC0415
    from orchwatch.recording.home import home  # noqa: PLC0415

    joined = membership.read()
    if joined is None:
        raise OrchwatchError("this machine has joined no fleet; orchwatch fleet join URL does")
    names = (os.path.abspath(arguments.collector),) if arguments.collector else _COLLECTORS
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise OrchwatchError(
            f"{' or '.join(names)}: no such program; install the OpenTelemetry Collector, or"
            " --collector says where it is"
        )
    words, environment = membership.agent_command(joined, found, stack_files.shipped())
    os.chdir(home())
    os.execve(found, words, environment)  # noqa: S606 - what becomes of it is the user's own
