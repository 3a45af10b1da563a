"""What `sessions`, `agents` and `traces` have in common: what is there, the latest first."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli import filters, options, window
from orchwatch.recording.safe_text import safe

if TYPE_CHECKING:
    import argparse

    from orchwatch.analysis.listing import Kind

_LIMIT = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    options.add_format(parser)
    options.add_limit(parser, _LIMIT)
    filters.add_arguments(parser, window.ALL)


def run(kind: Kind, arguments: argparse.Namespace) -> int:
    """Prints them."""
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.analysis import listing  # noqa: PLC0415
    from orchwatch.cli.parser import columns  # noqa: PLC0415
    from orchwatch.recording.home import home  # noqa: PLC0415
    from orchwatch.reporters import group_list  # noqa: PLC0415

    directory = Path(home())
    with filters.opened(directory) as store:
        chosen = filters.chosen(arguments, store, directory)
        limit = arguments.limit or listing.ENDLESS
        found, of_all = listing.groups(store, kind, chosen.selection, limit)
    if arguments.format == "json":
        group_list.render_json(kind, found, of_all, sys.stdout)
        return 0
    if not found:
        sys.stdout.write(nothing(f"No {kind}", chosen, str(directory)))
        return 0
    group_list.render(kind, found, of_all, sys.stdout, columns())
    return 0


def nothing(what: str, chosen: filters.Chosen, directory: str) -> str:
    """One line that says where nothing was found, and what shows more."""
    within = f" {chosen.words}" if chosen.words else " yet"
    hint = (
        "--since all looks at all there is"
        if chosen.selection.since_ns is not None
        else "orchwatch demo shows how it looks, and orchwatch import takes in recorded sessions"
    )
    return f"{what} is stored in {safe(directory)}{within}; {hint}.\n"
