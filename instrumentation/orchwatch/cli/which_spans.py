"""Which spans `critical-path` and `flame` look at: a trace by its id, or what options select."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from orchwatch.cli import filters
from orchwatch.errors import OrchwatchError, UsageError

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from orchwatch.store.database import Store
    from orchwatch.store.outlines import Outline
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
