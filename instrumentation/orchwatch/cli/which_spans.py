"""Which spans `trace`, `critical-path` and `flame` look at: those of an id, or all selected."""

from __future__ import annotations

import argparse
import gc
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from orchwatch.cli import filters, window
from orchwatch.errors import OrchwatchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchwatch.store.database import Store
    from orchwatch.store.outlines import Outline
    from orchwatch.store.selection import Selection
    from orchwatch.store.small import SmallStore


def whole_id(command: str, start: str, store: Store | SmallStore) -> str:
    """The one trace id that begins so; the same where there is none.

    Raises:
        OrchwatchError: There are several.
    """
    from orchwatch.store import spans  # noqa: PLC0415 - slow, see `commands`

    found = spans.trace_ids(store, start)
    if len(found) > 1:
        raise OrchwatchError(f"{command}: {start} begins more than one id: {', '.join(found)}")
    return found[0] if found else start


def of_trace(command: str, start: str, store: Store | SmallStore, directory: Path) -> list[Outline]:
    """The spans of the trace whose id begins so.

    Raises:
        OrchwatchError: There is none, or more than one.
    """
    from orchwatch.store import outlines  # noqa: PLC0415 - as above

    # Spans are in no circle; looking for some takes as long as all the rest.
    gc.disable()
    trace_id = whole_id(command, start, store)
    found = outlines.of_trace(store, trace_id)
    if not found:
        raise OrchwatchError(
            f"{command}: no span of {trace_id} is stored in {directory};"
            " orchwatch traces lists them"
        )
    return found


def side(
    command: str,
    what: str,
    arguments: argparse.Namespace,
    store: Store | SmallStore,
    directory: Path,
    *,
    option: str,
) -> Side:
    """One side of a comparison.

    Args:
        command: Who asks.
        what: A range such as `48h..24h`, within the other options; else the beginning of the id of
            a trace or of a session.
        arguments: The options.
        store: Where to look.
        directory: The home.
        option: What `what` was given to, for messages.

    Raises:
        UsageError: It is no such range.
        OrchwatchError: There is none, or more than one.
    """
    from orchwatch.analysis import listing  # noqa: PLC0415 - as above
    from orchwatch.store import spans  # noqa: PLC0415
    from orchwatch.store.selection import Selection  # noqa: PLC0415

    options = argparse.Namespace(**vars(arguments))
    if window.RANGE in what:
        options.since, _, options.until = what.partition(window.RANGE)
        window.range_ns(what, option)
        return all_selected(command, filters.chosen(options, store, directory), store, directory)
    sessions = listing.values(store, Selection(history=True), "session")
    if any(one.startswith(what) for one in sessions) and not spans.trace_ids(store, what):
        options.session = what
        return all_selected(command, filters.chosen(options, store, directory), store, directory)
    return trace(of_trace(command, what, store, directory))


class Side(NamedTuple):
    """What is looked at.

    Attributes:
        title: What to call it.
        spans: Gives them.
        selection: The same for the store; None where that has no way to say it.
    """

    title: str
    spans: Callable[[], list[Outline]]
    selection: Selection | None = None


def trace(found: list[Outline]) -> Side:
    """The spans of one trace."""
    return Side(f"trace {found[0].trace_id}, {found[0].name}", lambda: found)


def all_selected(
    command: str, chosen: filters.Chosen, store: Store | SmallStore, directory: Path
) -> Side:
    """What is selected, of an operation with all below it."""
    operation = chosen.selection.operation
    wide = replace(chosen, selection=replace(chosen.selection, operation=None))

    def spans() -> list[Outline]:
        from orchwatch.analysis.span_tree import below  # noqa: PLC0415 - as above

        found = selected(command, wide, store, directory)
        if operation is not None:
            found = below(found, operation)
        if not found:
            raise nothing(command, chosen, directory)
        return found

    title = f"what was recorded {chosen.words}".rstrip()
    return Side(title, spans, chosen.selection if operation is None else None)


def latest_trace(
    command: str, chosen: filters.Chosen, store: Store | SmallStore, directory: Path
) -> list[Outline]:
    """The spans of the trace that ended last.

    Raises:
        OrchwatchError: There is none.
    """
    from orchwatch.store import spans  # noqa: PLC0415 - as above

    trace_id = spans.latest_trace_id(store, chosen.selection)
    if trace_id is None:
        raise nothing(command, chosen, directory)
    return of_trace(command, trace_id, store, directory)


def selected(
    command: str, chosen: filters.Chosen, store: Store | SmallStore, directory: Path
) -> list[Outline]:
    """All that is selected.

    Raises:
        OrchwatchError: Nothing is.
    """
    from orchwatch.store import outlines  # noqa: PLC0415 - as above

    gc.disable()
    found = outlines.selected(store, chosen.selection)
    if not found:
        raise nothing(command, chosen, directory)
    return found


def nothing(command: str, chosen: filters.Chosen, directory: Path) -> OrchwatchError:
    """What to say where nothing is selected."""
    within = f" ({chosen.words})" if chosen.words else ""
    return OrchwatchError(
        f"{command}: nothing is stored in {directory}{within}; orchwatch demo shows how it looks"
    )


def id_alone(command: str, arguments: argparse.Namespace) -> None:
    """Refuses options beside an id.

    Raises:
        UsageError: Some are given.
    """
    given = filters.given(arguments)
    if given:
        raise UsageError(f"{command}: an ID names one trace, so {given[0]} has nothing to choose")
