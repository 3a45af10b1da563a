"""The table's patterns among all operations, typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchwatch.targets import target_table

if TYPE_CHECKING:
    from orchwatch.targets.target_table import Severity, Targets


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A limit on what all operations together may do.

    Attributes:
        id: Its name.
        title: What a person calls it.
        limit: More than this is an alert, in `unit`.
        unit: UCUM.
        window_s: Over how many seconds.
        severity: Of the alert.
        recommendation: What to do about it.
        source: Where the limit comes from.
    """

    id: str
    title: str
    limit: float
    unit: str
    window_s: int
    severity: Severity
    recommendation: str
    source: str


def load() -> dict[str, Pattern]:
    """The shipped patterns by id."""
    rows = target_table.shipped()["patterns"]
    return {row_id: Pattern(id=row_id, **row) for row_id, row in rows.items()}


def quick(table: Targets, mean: Pattern) -> list[str]:
    """The operations that count for the mean: others are meant to take longer than its limit."""
    return [row.id for row in table.operations.values() if row.target_s <= mean.limit]
