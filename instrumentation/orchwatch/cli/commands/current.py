"""`orchwatch current`: every operation against its target, from what is stored on this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli import window

if TYPE_CHECKING:
    import argparse

HELP = "show every operation against its target"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("--format", choices=("table", "json"), default="table")
    window.add_argument(parser)
    parser.add_argument(
        "--color",
        choices=("auto", "always", "never"),
        default="auto",
        help="auto: on a terminal, unless NO_COLOR is set",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the snapshot."""
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.home import home  # noqa: PLC0415
    from orchwatch.monitor.status import Gatherer  # noqa: PLC0415
    from orchwatch.monitor.store import Store  # noqa: PLC0415
    from orchwatch.reporters import colour, document, table  # noqa: PLC0415

    directory = Path(home())
    window_s = window.length_s(arguments.since)
    with Store(directory) as store:
        gatherer = Gatherer(directory, store, Path.cwd(), window_s)
        gatherer.measure_system()
        gatherer.measure_business()
        taken = gatherer.take().snapshot
    if arguments.format == "json":
        document.render(taken, sys.stdout)
        return 0
    if not taken.earlier and not any(reading.count for reading in taken.operations):
        sys.stdout.write(
            f"Nothing was measured yet in {directory}.\n"
            'Put `with operation("state.query"):` around some work, or run `orchwatch demo`.\n\n'
        )
    table.render(taken, sys.stdout, colour=colour.wanted(sys.stdout, arguments.color))
    return 0
