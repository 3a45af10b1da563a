"""`orchwatch tokens`: what models used, and what it cost."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli import filters, list_command, options

if TYPE_CHECKING:
    import argparse

HELP = "list the tokens that models used, and their cost: by model, agent, session, service, day"

_BY = ("model", "agent", "session", "service", "day")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "--by", choices=_BY, default=_BY[0], help="what to add up by (default: %(default)s)"
    )
    options.add_format(parser)
    filters.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints them, the most expensive first."""
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.analysis import token_use  # noqa: PLC0415
    from orchwatch.cli.parser import columns  # noqa: PLC0415
    from orchwatch.recording.home import home  # noqa: PLC0415
    from orchwatch.reporters import token_list  # noqa: PLC0415

    directory = Path(home())
    with filters.opened(directory) as store:
        chosen = filters.chosen(arguments, store, directory)
        found = token_use.measure(store, chosen.selection, arguments.by)
    if arguments.format == "json":
        token_list.render_json(found, arguments.by, sys.stdout)
    elif found.uses:
        words = f"What was recorded {chosen.words}." if chosen.words else "All that was recorded."
        token_list.render(found, arguments.by, chosen.note or words, sys.stdout, columns())
    else:
        sys.stdout.write(list_command.nothing("No use of a model", chosen, str(directory)))
    return 0
