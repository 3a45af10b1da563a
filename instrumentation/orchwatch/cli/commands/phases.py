"""`orchwatch phases`: where the time of turns, sessions and agents went."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchwatch.cli import filters, options, which_spans
from orchwatch.recording.safe_text import safe

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from orchwatch.analysis.time_spent import By, Found
    from orchwatch.store.database import Store
    from orchwatch.store.small import SmallStore

HELP = "list where time went: waiting for a person, model, tools, hooks, compaction, retries, idle"

_BY: tuple[By, ...] = ("turn", "session", "agent")
_LIMIT = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "trace_id",
        nargs="?",
        metavar="ID",
        help="one turn: its trace's id, or the first digits of it",
    )
    parser.add_argument(
        "--by", choices=_BY, default=_BY[0], help="whose time (default: %(default)s)"
    )
    options.add_format(parser)
    options.add_limit(parser, _LIMIT)
    filters.add_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints it.

    Raises:
        OrchwatchError: There is no such trace.
        UsageError: Filters beside an id.
    """
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.cli.parser import columns  # noqa: PLC0415
    from orchwatch.recording.home import home  # noqa: PLC0415
    from orchwatch.reporters import phase_list  # noqa: PLC0415

    directory = Path(home())
    with filters.opened(directory) as store:
        if arguments.trace_id:
            found, covered, nothing = _of_trace(arguments, store, directory)
        else:
            found, covered, nothing = _selected(arguments, store, directory)
    if arguments.format == "json":
        phase_list.render_json(found, arguments.by, sys.stdout)
    elif found.spent:
        phase_list.render(found, arguments.by, covered, sys.stdout, columns())
    else:
        sys.stdout.write(nothing)
    return 0


def _of_trace(
    arguments: argparse.Namespace, store: Store | SmallStore, directory: Path
) -> tuple[Found, str, str]:
    """What was found, what it covers, and what to say where that is nothing."""
    from orchwatch.analysis import listing, time_spent  # noqa: PLC0415 - as above

    which_spans.id_alone("phases", arguments)
    spans = which_spans.of_trace("phases", arguments.trace_id, store, directory)
    named = f"Trace {spans[0].trace_id}"
    limit = arguments.limit or listing.ENDLESS
    found = time_spent.of_spans(store, spans, arguments.by, limit)
    return found, f"{named}.", f"{named} holds no turn.\n"


def _selected(
    arguments: argparse.Namespace, store: Store | SmallStore, directory: Path
) -> tuple[Found, str, str]:
    from orchwatch.analysis import listing, time_spent  # noqa: PLC0415 - as above

    chosen = filters.chosen(arguments, store, directory)
    limit = arguments.limit or listing.ENDLESS
    found = time_spent.measure(store, chosen.selection, arguments.by, limit)
    words = f"What ended {chosen.words}." if chosen.words else "All that ended."
    within = f" {chosen.words}" if chosen.words else " yet"
    more = "; --since all looks at all there is" if chosen.selection.since_ns is not None else ""
    nothing = (
        f"No turn of an agent is stored in {safe(str(directory))}{within}{more};"
        " orchwatch import takes in recorded sessions.\n"
    )
    return found, chosen.note or words, nothing
