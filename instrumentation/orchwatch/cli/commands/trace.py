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

    from orchwatch.analysis.time_spent import Spent
    from orchwatch.cli.filters import Chosen
    from orchwatch.store.database import Store
    from orchwatch.store.outlines import Outline
    from orchwatch.store.small import SmallStore

HELP = "show a trace as a tree: who called what, how often, for how long"


_ANY = ""
_DIFF = "diff"
_SIDES = ("A", "B")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument(
        "trace_id",
        nargs="*",
        metavar="ID",
        help="its id, or the first digits of it (default: the latest); or diff A B: what changed"
        " from A to B, each a trace, a session, or a range such as 48h..24h",
    )
    parser.add_argument(
        "--waterfall",
        action="store_true",
        help="each span as a bar in time, with what the whole waited for",
    )
    which = parser.add_mutually_exclusive_group()
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

    from orchwatch.cli.parser import columns  # noqa: PLC0415
    from orchwatch.recording.home import home  # noqa: PLC0415
    from orchwatch.reporters import json_document, phase_list, tree  # noqa: PLC0415
    from orchwatch.store import spans  # noqa: PLC0415

    _check(arguments)
    directory = Path(home())
    with filters.opened(directory) as store:
        if arguments.trace_id[:1] == [_DIFF]:
            return _diff(arguments, store, directory)
        trace_id = _chosen(arguments, store, directory)
        if arguments.waterfall:
            _waterfall(which_spans.of_trace("trace", trace_id, store, directory))
            return 0
        found = spans.trace(store, trace_id)
        turns = _turns(store, trace_id) if found and arguments.format != "json" else []
    if not found:
        raise OrchwatchError(
            f"trace: no span of {trace_id} is stored in {directory}; orchwatch traces lists them"
        )
    if arguments.format == "json":
        json_document.answer("trace", [asdict(span) for span in found], sys.stdout)
    else:
        tree.render(found, sys.stdout, columns())
        phase_list.render_turns(turns, sys.stdout, columns())
    return 0


def _turns(store: Store | SmallStore, trace_id: str) -> list[Spent]:
    """Where the time of the turns in a trace went."""
    from orchwatch.analysis import time_spent  # noqa: PLC0415 - as above
    from orchwatch.store import outlines  # noqa: PLC0415

    return time_spent.of_spans(store, outlines.of_trace(store, trace_id)).spent


def _check(arguments: argparse.Namespace) -> None:
    """Refuses what does not go together."""
    words = arguments.trace_id
    if words[:1] == [_DIFF]:
        if len(words) != 1 + len(_SIDES):
            raise UsageError("trace: diff takes two: orchwatch trace diff A B")
    elif len(words) > 1:
        raise UsageError(f"trace: one ID at a time, not {len(words)}; diff A B compares two")
    if words and (arguments.slowest is not None or arguments.failed is not None):
        raise UsageError(
            "trace: an ID names one trace, so --slowest and --failed look for no other"
        )
    if arguments.waterfall and (arguments.format == "json" or words[:1] == [_DIFF]):
        raise UsageError("trace: --waterfall is a view of one trace; --format json has every span")


def _waterfall(found: list[Outline]) -> None:
    from orchwatch.analysis import critical_path  # noqa: PLC0415 - as above
    from orchwatch.analysis.span_tree import SpanTree  # noqa: PLC0415
    from orchwatch.cli.parser import columns  # noqa: PLC0415
    from orchwatch.reporters import waterfall  # noqa: PLC0415

    made = SpanTree(found)
    waterfall.render(made, critical_path.walked(made), sys.stdout, columns())


def _diff(arguments: argparse.Namespace, store: Store | SmallStore, directory: Path) -> int:
    from orchwatch.analysis import trace_diff  # noqa: PLC0415 - as above
    from orchwatch.reporters import trace_diff_table  # noqa: PLC0415

    before, now = (
        which_spans.side(
            "trace diff", what, arguments, store, directory, option="trace diff: a range"
        )
        for what in arguments.trace_id[1:]
    )
    found = trace_diff.compare(before.spans(), now.spans())
    if arguments.format == "json":
        trace_diff_table.render_json(found, sys.stdout)
    else:
        trace_diff_table.render((before.title, now.title), found, sys.stdout)
    return 0


def _chosen(arguments: argparse.Namespace, store: Store | SmallStore, directory: Path) -> str:
    from orchwatch.store import spans  # noqa: PLC0415 - as above

    if arguments.trace_id:
        given = filters.given(arguments)
        if given:
            raise UsageError(f"trace: an ID names one trace, so {given[0]} has nothing to choose")
        return which_spans.whole_id("trace", arguments.trace_id[0], store)
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
