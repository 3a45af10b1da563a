"""Recorded operations as sides of a comparison: windows and versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.analysis.baselines import Side
from orchwatch.analysis.comparison import MAX_SAMPLES, Measurement
from orchwatch.errors import OrchwatchError
from orchwatch.store import samples

if TYPE_CHECKING:
    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection
    from orchwatch.store.small import SmallStore

VERSION = "service.version"


def side(
    store: Store | SmallStore,
    selection: Selection,
    words: str,
    *,
    of: tuple[str, str] | None = None,
) -> Side:
    """What was recorded, as one side.

    Args:
        store: What is asked.
        selection: A window and filters.
        words: What that is, for a person.
        of: An attribute of the resource and the value it must have.

    Raises:
        OrchwatchError: Nothing was.
    """
    found = samples.read(store, selection, most=MAX_SAMPLES, of=of)
    if not found:
        raise OrchwatchError(f"nothing to compare: no operation is stored of {words}")
    return Side(
        measurements=tuple(
            Measurement(
                operation=one.operation,
                component="",
                samples_s=one.durations_s,
                failures=one.failed,
                succeeded=one.succeeded,
            )
            for one in found
        ),
        words=words,
    )


def versions(store: Store | SmallStore, selection: Selection) -> tuple[Side, Side]:
    """The version before the newest one, and that; by when they were first seen.

    Raises:
        OrchwatchError: Fewer than two versions were recorded.
    """
    known = samples.values_of(store, selection, VERSION)
    if len(known) < 2:  # noqa: PLR2004 - one before, one after
        raise OrchwatchError(
            f"two versions are needed, and {len(known) or 'none'} recorded: set {VERSION} in"
            " OTEL_RESOURCE_ATTRIBUTES"
        )
    before, after = (
        side(store, selection, f"operations of version {value}", of=(VERSION, value))
        for value in known[-2:]
    )
    return before, after
