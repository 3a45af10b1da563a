"""`orchwatch hooks`: what each hook costs the turns that wait for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli import filters, list_command, options

if TYPE_CHECKING:
    import argparse

HELP = "list hooks: how often, how long, what failed, and what a turn would take without"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    options.add_format(parser)
    filters.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints them, those that turns wait for longest first."""
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.analysis import hooks  # noqa: PLC0415
    from orchwatch.cli.parser import columns  # noqa: PLC0415
    from orchwatch.recording.home import home  # noqa: PLC0415
    from orchwatch.reporters import hook_list  # noqa: PLC0415

    directory = Path(home())
    with filters.opened(directory) as store:
        chosen = filters.chosen(arguments, store, directory)
        found = hooks.measure(store, chosen.selection)
    if arguments.format == "json":
        hook_list.render_json(found, sys.stdout)
    elif found.hooks:
        words = f"What was recorded {chosen.words}." if chosen.words else "All that was recorded."
        hook_list.render(found, chosen.note or words, sys.stdout, columns())
    else:
        sys.stdout.write(list_command.nothing("No hook", chosen, str(directory)))
    return 0
