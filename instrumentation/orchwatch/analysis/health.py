"""The health score and the alerts, as the requirements compute them, from the measured figures.

A score is the mean over the parts that have a figure: a part that was not measured says nothing,
neither good nor bad. An operation's figure is its p95, which every status here compares.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from orchwatch.targets import target_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchwatch.targets.target_table import (
        Direction,
        LevelTarget,
        OperationTarget,
        Severity,
        Targets,
    )

State = Literal["healthy", "degraded", "critical", "unknown"]

# Means of 0.8 must not come out as 0.8000000000000002, beyond the limit that they just reach.
_DIGITS = 9


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one figure may score.

    Attributes:
        good: Up to here (or from here on, where more is better) it scores `good_score`.
        fair: Up to here it scores `fair_score`, beyond it `poor_score`.
        direction: Whether `below` or `above` is better.
        unit: UCUM.
    """

    good: float
    fair: float
    direction: Direction
    unit: str


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The table's `[health]`.

    Attributes:
        parts: By the id of their operation or level.
        good_score: Of a good part.
        fair_score: Of a fair part.
        poor_score: Of any other.
        healthy_above: Scores beyond it are healthy.
        degraded_above: Others beyond it are degraded, the rest critical.
    """

    parts: Mapping[str, Part]
    good_score: float
    fair_score: float
    poor_score: float
    healthy_above: float
    degraded_above: float


@dataclass(frozen=True, kw_only=True)
class Health:
    """The health of an orchestration.

    Attributes:
        score: 0 to 1; None where no part was measured.
        status: `unknown` where there is no score; see `judged` for what else it says.
        parts: The score of each measured part.
    """

    score: float | None
    status: State
    parts: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A row of the table whose figure is beyond its alert threshold.

    Attributes:
        id: The row's id.
        title: What a person calls it.
        severity: Of the alert.
        value: The figure, in `unit`.
        threshold: The row's alert threshold, in `unit`.
        unit: UCUM.
        recommendation: What to do about it.
    """

    id: str
    title: str
    severity: Severity
    value: float
    threshold: float
    unit: str
    recommendation: str


def load(table: Targets) -> Rules:
    """The rules, with the targets that they refer to.

    Raises:
        ConfigError: The shipped table cannot be read.
    """
    section = target_table.shipped()["health"]
    parts = {}
    for row_id, limits in section["parts"].items():
        if row_id in table.operations:
            good, unit = table.operations[row_id].target_s, "s"
            direction: Direction = "below"
        else:
            row = table.levels[row_id]
            good, unit, direction = row.target, row.unit, row.direction
        good = float(limits.get("good", good))
        fair = float(limits["fair"])
        # A target of the user's own may lie beyond the shipped second step.
        fair = max(fair, good) if direction == "below" else min(fair, good)
        parts[row_id] = Part(good=good, fair=fair, direction=direction, unit=unit)
    limits = {key: float(section[key]) for key in Rules.__dataclass_fields__ if key != "parts"}
    return Rules(parts=parts, **limits)


def score(rules: Rules, figures: Mapping[str, float | None]) -> Health:
    """Scores figures by the id of their row: an operation's p95 in seconds, a level's value."""
    parts = {
        row_id: _score(rules, part, value)
        for row_id, part in rules.parts.items()
        if (value := figures.get(row_id)) is not None
    }
    if not parts:
        return Health(score=None, status="unknown", parts=parts)
    mean = round(sum(parts.values()) / len(parts), _DIGITS)
    if mean > rules.healthy_above:
        return Health(score=mean, status="healthy", parts=parts)
    status: State = "degraded" if mean > rules.degraded_above else "critical"
    return Health(score=mean, status=status, parts=parts)


def judged(table: Targets, rules: Rules, figures: Mapping[str, float | None]) -> Health:
    """The score, and a status that never says well while a target is missed or an alert fires.

    The score is the requirements' own. Its status is `critical` while a critical alert fires, and
    at best `degraded` while another one does or a row of the table is a miss.
    """
    found = score(rules, figures)
    rows: list[OperationTarget | LevelTarget] = [
        *table.operations.values(),
        *table.levels.values(),
    ]
    missed = any(row.status(figures.get(row.id)) == "miss" for row in rows)
    exceeded = alerts(table, figures)
    if any(alert.severity == "critical" for alert in exceeded):
        return replace(found, status="critical")
    if (missed or exceeded) and found.status in {"healthy", "unknown"}:
        return replace(found, status="degraded")
    return found


def alerts(table: Targets, figures: Mapping[str, float | None]) -> list[Alert]:
    """The rows beyond their alert threshold, critical first, then in the table's order."""
    rows: list[tuple[OperationTarget | LevelTarget, float | None, str, Direction]] = [
        *((row, row.alert_s, "s", "below") for row in table.operations.values()),
        *((row, row.alert, row.unit, row.direction) for row in table.levels.values()),
    ]
    found = []
    for row, threshold, unit, direction in rows:
        value = figures.get(row.id)
        if value is None or threshold is None:
            continue
        if value > threshold if direction == "below" else value < threshold:
            found.append(
                Alert(
                    id=row.id,
                    title=row.title,
                    severity=row.severity,
                    value=value,
                    threshold=threshold,
                    unit=unit,
                    recommendation=row.recommendation,
                )
            )
    return sorted(found, key=lambda alert: alert.severity != "critical")


def _score(rules: Rules, part: Part, value: float) -> float:
    sign = 1 if part.direction == "below" else -1
    if sign * value <= sign * part.good:
        return rules.good_score
    return rules.fair_score if sign * value <= sign * part.fair else rules.poor_score
