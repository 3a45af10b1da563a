"""`orchwatch forecast`: where latencies, memory and storage go, and what will cross its target."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli import filters, list_command, options, window
from orchwatch.errors import UsageError

if TYPE_CHECKING:
    import argparse

HELP = "show where latencies, memory and storage go, and when they cross their targets"

_PAST = "7d"
_AHEAD = "24h"
_NS = 1_000_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    options.add_format(parser)
    parser.add_argument(
        "--ahead",
        metavar="LENGTH",
        default=_AHEAD,
        help="how far, at most a quarter of the past (default: %(default)s)",
    )
    filters.add_arguments(parser, _PAST)


def run(arguments: argparse.Namespace) -> int:
    """Prints the forecasts.

    Raises:
        UsageError: A window is invalid.
        OrchwatchError: SciPy is not installed, or the store cannot be read.
    """
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.analysis import forecasts  # noqa: PLC0415
    from orchwatch.cli.parser import columns  # noqa: PLC0415
    from orchwatch.recording.home import home  # noqa: PLC0415
    from orchwatch.reporters import forecast_list  # noqa: PLC0415
    from orchwatch.targets import target_table  # noqa: PLC0415

    ahead_s = None
    if arguments.ahead != window.ALL:
        ahead_s = window.length_s(arguments.ahead, "--ahead")
    if not ahead_s:
        raise UsageError(f"--ahead must be a length such as 6h or 2d, not {arguments.ahead!r}")
    directory = Path(home())
    with filters.opened(directory) as store:
        chosen = filters.chosen(arguments, store, directory)
        found = forecasts.forecast(
            directory, store, chosen.selection, target_table.load(), ahead_ns=ahead_s * _NS
        )
    if arguments.format == "json":
        forecast_list.render_json(found, sys.stdout)
    elif found:
        words = f"From what was recorded {chosen.words}." if chosen.words else "From all there is."
        forecast_list.render(found, chosen.note or words, sys.stdout, columns())
    else:
        sys.stdout.write(list_command.nothing("Nothing to go by", chosen, str(directory)))
    return 0
