"""What the alerts about the pipeline have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchwatch.mixin.lib import level_series
from orchwatch.mixin.lib.rule import AlertRule, Case, NoRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchwatch.targets.target_table import Severity

# How long a case lasts.
MINUTES: Final = 20


@dataclass(frozen=True, kw_only=True)
class Text:
    """What a person reads of an alert."""

    title: str
    summary: str
    meaning: str
    limit: str
    recommendation: str
    look: str


def alert(
    name: str,
    severity: Severity,
    expr: str,
    text: Text,
    *,
    cases: tuple[Mapping[str, str], Mapping[str, str]],
    for_: str = "",
    labels: Mapping[str, str] | None = None,
) -> AlertRule:
    """An alert without a row of the table.

    Args:
        name: Its name.
        severity: Its severity.
        expr: Has a result while it fires.
        text: What a person reads.
        cases: The series with which it fires, and those with which it does not.
        for_: How long the expression must have a result before the alert fires.
        labels: Of the answer, in the case in which it fires.
    """
    firing, silent = (Case(series=series, at=f"{MINUTES}m") for series in cases)
    return AlertRule(
        name=name,
        row=NoRow(title=text.title, severity=severity, recommendation=text.recommendation),
        kind="pipeline",
        symptom="pipeline",
        expr=expr,
        for_=for_,
        summary=text.summary,
        dashboard=level_series.PIPELINE_DASHBOARD,
        meaning=text.meaning,
        limit=text.limit,
        look=text.look,
        command="orchwatch doctor",
        labels=labels or {},
        firing=firing,
        silent=silent,
    )
