"""How the durations of operations developed within a window: columns of equal length."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from orchwatch.store import spans, steps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchwatch.store.database import Store
    from orchwatch.store.selection import Selection

Trend = Literal["up", "down", "steady"]

COLUMNS = 24
"""How many columns there are at most, besides the one that is not over."""

# How long a column may be, so that one that is over stays as it is while time goes on.
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
_DAY_S = 86_400
_RECENT = 3  # columns, as the requirements compare them with as many before


@dataclass(frozen=True, kw_only=True)
class History:
    """What was measured, column by column, the oldest first.

    Attributes:
        first_ns: When the first column begins, in Unix nanoseconds.
        step_ns: How long each is.
        p95_s: By operation the 95th percentile, nearest rank; None where it did not end.
        counts: By operation how often it ended.
    """

    first_ns: int = 0
    step_ns: int = 1
    p95_s: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    counts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def measure(store: Store, selection: Selection, *, now_ns: int) -> History:
    """The history of a selection's operations.

    Columns are a round number of seconds long, and begin at whole multiples of that.

    Args:
        store: What was recorded; the caller refreshes it.
        selection: Which operations; columns begin with the first one of them that ended.
        now_ns: Where the last column ends, in Unix nanoseconds.

    Raises:
        OrchwatchError: The store's files cannot be read.
    """
    reach = steps.reach_ns(store, selection)
    if reach is None or reach[0] > now_ns:
        return History()
    step_ns = _step_s((now_ns - reach[0]) / spans.NS_PER_S / COLUMNS) * spans.NS_PER_S
    first_ns = reach[0] // step_ns * step_ns
    number = (now_ns - first_ns) // step_ns + 1
    p95_s: dict[str, list[float | None]] = {}
    counts: dict[str, list[int]] = {}
    for start_ns, one in steps.read(store, selection, step_ns=step_ns, targets_s={}):
        place = (start_ns - first_ns) // step_ns
        if place < number:
            p95_s.setdefault(one.operation, [None] * number)[place] = one.p95_s
            counts.setdefault(one.operation, [0] * number)[place] = one.count
    return History(
        first_ns=first_ns,
        step_ns=step_ns,
        p95_s={operation: tuple(column) for operation, column in p95_s.items()},
        counts={operation: tuple(column) for operation, column in counts.items()},
    )


def _step_s(at_least_s: float) -> int:
    for step_s in _STEPS_S:
        if step_s >= at_least_s:
            return step_s
    return -int(-at_least_s // _DAY_S) * _DAY_S


def trend(values: Sequence[float | None], least_noise: float) -> Trend | None:
    """Where a figure goes: the mean of its last three columns against the three before.

    Args:
        values: Column by column; those without a figure are passed over.
        least_noise: The table's: a share that differs whatever is measured, see `Comparison`.

    Returns:
        None where fewer than two columns have a figure.
    """
    measured = [value for value in values if value is not None]
    recent, before = measured[-_RECENT:], measured[-2 * _RECENT : -_RECENT]
    if not before:
        recent, before = measured[-1:], measured[:-1]
    if not before:
        return None
    now, then = sum(recent) / len(recent), sum(before) / len(before)
    if now > then * (1 + least_noise):
        return "up"
    return "down" if now < then * (1 - least_noise) else "steady"
