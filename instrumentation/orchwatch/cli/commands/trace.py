"""`orchwatch trace`: what happened in one trace, from what is stored on this machine."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from orchwatch.cli import filters, options, which_spans, window
from orchwatch.cli.suggestions import did_you_mean
from orchwatch.errors import OrchwatchError, UsageError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from orchwatch.cli.filters import Chosen
    from orchwatch.store.database import Store
    from orchwatch.store.small import SmallStore

HELP = "show a trace as a tree: who called what, how often, for how long"


_ANY = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "trace_id",
        nargs="?",
        metavar="ID",
        help="its id, or the first digits of it (default: the latest)",
    )
    which.add_argument(
        "--slowest",
        nargs="?",
        const=_ANY,
        metavar="NAME",
        help="the trace that holds the slowest call, of all operations or of that name",
    )
    which.add_argument(
        "--failed",
        nargs="?",
        const=_ANY,
        metavar="NAME",
        help="the trace of the latest operation that failed, of all or of that name",
    )
    options.add_format(parser)
    filters.add_arguments(parser, window.ALL)


def run(arguments: argparse.Namespace) -> int:
    """Prints the trace.

    Raises:
        OrchwatchError: Nothing is stored, or not that trace.
    """
    from pathlib import Path  # noqa: PLC0415 - slow, see `commands`, and so are the next ones

    from orchwatch.recording.home import home  # noqa: PLC0415
    from orchwatch.reporters import json_document, tree  # noqa: PLC0415
    from orchwatch.store import spans  # noqa: PLC0415

    directory = Path(home())
    with filters.opened(directory) as store:
        trace_id = _chosen(arguments, store, directory)
        found = spans.trace(store, trace_id)
    if not found:
        raise OrchwatchError(
            f"trace: no span of {trace_id} is stored in {directory}; orchwatch traces lists them"
        )
    if arguments.format == "json":
        json_document.render([asdict(span) for span in found], sys.stdout)
    else:
        tree.render(found, sys.stdout)
    return 0


def _chosen(arguments: argparse.Namespace, store: Store | SmallStore, directory: Path) -> str:
    from orchwatch.store import spans  # noqa: PLC0415 - as above

    if arguments.trace_id:
        given = filters.given(arguments)
        if given:
            raise UsageError(f"trace: an ID names one trace, so {given[0]} has nothing to choose")
        return which_spans.whole_id("trace", str(arguments.trace_id), store)
    named = arguments.slowest or arguments.failed
    if named and arguments.operation is not None:
        raise UsageError(f"trace: {named} and --operation {arguments.operation}: give one name")
    chosen = filters.chosen(arguments, store, directory)
    selection = replace(chosen.selection, operation=named) if named else chosen.selection
    if arguments.slowest is not None:
        found = spans.slowest_trace_id(store, selection)
    elif arguments.failed is not None:
        found = spans.latest_failed_trace_id(store, selection)
    else:
        found = spans.latest_trace_id(store, selection)
    if found is None:
        raise OrchwatchError(f"trace: {_none(arguments, store, chosen, directory)}")
    return found


def _none(
    arguments: argparse.Namespace, store: Store | SmallStore, chosen: Chosen, directory: Path
) -> str:
    """Why there is no trace to show, and what to do about it."""
    from orchwatch.analysis import listing  # noqa: PLC0415 - as above

    named = arguments.slowest or arguments.failed
    known = listing.values(store, chosen.selection, "operation")
    hint = "orchwatch demo shows how it looks"
    if named and named not in known and known:
        hint = did_you_mean(named, known) or "orchwatch current shows what was"
    elif known:
        hint = "orchwatch traces lists what there is"
    within = f" ({chosen.words})" if chosen.words else ""
    if arguments.failed is not None:
        return f"no {named or 'operation'} has failed in {directory}{within}; {hint}"
    what = f"{named} was not" if named else "nothing was"
    return f"{what} measured yet in {directory}{within}; {hint}"
