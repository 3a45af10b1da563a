"""`orchwatch critical-path`: what a trace, or a whole session, waited for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli import filters, options, which_spans, window

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from orchwatch.store.database import Store
    from orchwatch.store.outlines import Outline
    from orchwatch.store.small import SmallStore

HELP = "show what a trace or a session waited for, and what would make it faster"

_NAME = "critical-path"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "trace_id",
        nargs="?",
        metavar="ID",
        help="a trace's id, or the first digits of it (default: the latest trace, or with"
        " --session all of that session)",
    )
    options.add_format(parser)
    filters.add_arguments(parser, window.ALL)


def run(arguments: argparse.Namespace) -> int:
    """Prints the path.

    Raises:
        OrchwatchError: Nothing is stored, or not that trace.
    """
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.analysis import critical_path  # noqa: PLC0415
    from orchwatch.analysis.span_tree import SpanTree  # noqa: PLC0415
    from orchwatch.cli.parser import columns  # noqa: PLC0415
    from orchwatch.recording.home import home  # noqa: PLC0415
    from orchwatch.reporters import critical_path_report  # noqa: PLC0415

    directory = Path(home())
    with filters.opened(directory) as store:
        found = _found(arguments, store, directory)
    tree = SpanTree(found)
    path = critical_path.measure(tree)
    if arguments.format == "json":
        critical_path_report.render_json(tree, path, sys.stdout)
    else:
        critical_path_report.render(tree, path, sys.stdout, columns())
    return 0


def _found(
    arguments: argparse.Namespace, store: Store | SmallStore, directory: Path
) -> list[Outline]:
    if arguments.trace_id:
        which_spans.id_alone(_NAME, arguments)
        return which_spans.of_trace(_NAME, arguments.trace_id, store, directory)
    chosen = filters.chosen(arguments, store, directory)
    find = which_spans.latest_trace if arguments.session is None else which_spans.selected
    return find(_NAME, chosen, store, directory)
