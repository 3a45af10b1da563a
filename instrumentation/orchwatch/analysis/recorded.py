"""Recorded operations as sides of a comparison: windows, versions and commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch import semconv
from orchwatch.analysis.baselines import Side
from orchwatch.analysis.comparison import MAX_SAMPLES, Measurement
from orchwatch.errors import OrchwatchError
from orchwatch.store import samples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection
    from orchwatch.store.small import SmallStore

VERSION = semconv.SERVICE_VERSION
# https://opentelemetry.io/docs/specs/semconv/registry/attributes/vcs/
REVISION = "vcs.ref.head.revision"
# As short as git itself shortens a commit.
_LEAST_DIGITS = 7
_SHOWN_DIGITS = 12


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


def commits(
    store: Store | SmallStore, selection: Selection, head: str, ancestors: Sequence[str]
) -> tuple[Side, Side]:
    """A commit's nearest ancestor of which operations were recorded, and that commit.

    Args:
        store: What is asked.
        selection: A window and filters.
        head: The commit, in full.
        ancestors: Those before it, the nearest first.

    Raises:
        OrchwatchError: Nothing was recorded of one of the two.
    """
    known = [
        value
        for value in samples.values_of(store, selection, REVISION)
        if len(value) >= _LEAST_DIGITS
    ]

    def recorded_as(commit: str) -> str | None:
        fitting = [value for value in known if commit.startswith(value.lower())]
        return max(fitting, key=len, default=None)  # in full, where it is there in full and short

    shown = head[:_SHOWN_DIGITS]
    after = recorded_as(head)
    if after is None:
        raise OrchwatchError(
            f"no operation of commit {shown} is recorded: set {REVISION} in"
            " OTEL_RESOURCE_ATTRIBUTES where it runs"
        )
    before = next((value for value in map(recorded_as, ancestors) if value is not None), None)
    if before is None:
        raise OrchwatchError(f"no operation of a commit before {shown} is recorded")
    first, second = (
        side(
            store, selection, f"operations of commit {value[:_SHOWN_DIGITS]}", of=(REVISION, value)
        )
        for value in (before, after)
    )
    return first, second
