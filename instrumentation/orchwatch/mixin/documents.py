"""The table as Markdown."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from orchwatch import units
from orchwatch.analysis import health
from orchwatch.mixin.lib.markdown import table as markdown_table

if TYPE_CHECKING:
    from orchwatch.targets.target_table import LevelTarget, Targets

_WIDTH = 120
_SIGNS = {"below": "≤", "above": "≥"}


def target_tables(table: Targets) -> list[str]:
    """Four tables: operations, reliability, levels, the health score."""
    operations = [
        (
            f"`{row.id}`",
            row.title,
            units.duration(row.target_s),
            units.duration(row.warning_s),
            units.duration(row.alert_s),
            units.share(row.objective),
            row.severity,
            row.recommendation,
        )
        for row in table.operations.values()
    ]
    parts = [
        "",
        "## Operations",
        "",
        *markdown_table(
            ("id", "operation", "target", "warn up to", "alert", "objective", "severity", "do"),
            operations,
        ),
    ]
    for group, title in (("reliability", "Reliability"), ("levels", "Levels")):
        rows = [_level(row) for row in table.levels.values() if row.group == group]
        header = ("id", "what", "target", "warn up to", "alert", "severity", "do")
        parts += ["", f"## {title}", "", *markdown_table(header, rows)]
    return [*parts, *_health(table), ""]


def _health(table: Targets) -> list[str]:
    rules = health.load(table)
    rows = [
        (
            f"`{row_id}`",
            f"{_SIGNS[part.direction]} {_limit(part.good, part.unit)}",
            f"{_SIGNS[part.direction]} {_limit(part.fair, part.unit)}",
        )
        for row_id, part in rules.parts.items()
    ]
    header = ("part", f"scores {rules.good_score:g}", f"scores {rules.fair_score:g}")
    meaning = (
        "The mean of what the parts score that were measured; beyond the last column a part scores"
        f" {rules.poor_score:g}. An operation's figure is its p95. Healthy above"
        f" {rules.healthy_above:g}, degraded above {rules.degraded_above:g}, else critical; unknown"
        " where no part was measured. Whatever the score, the status is critical while a critical"
        " alert fires, and at best degraded while a target is missed or another alert fires. The"
        " status line and Prometheus judge by the same table, each by what it sees: the status line"
        " by the last hour of this machine's operations, Prometheus by rules over its own windows."
    )
    return [
        "",
        "## Health score",
        "",
        *textwrap.wrap(meaning, _WIDTH),
        "",
        *markdown_table(header, rows),
    ]


def _limit(value: float, unit: str) -> str:
    return units.duration(value) if unit == "s" else units.level(value, unit)


def _level(row: LevelTarget) -> tuple[str, ...]:
    sign = _SIGNS[row.direction]
    return (
        f"`{row.id}`",
        row.title,
        f"{sign} {units.level(row.target, row.unit)}",
        f"{sign} {units.level(row.warning, row.unit)}",
        units.level(row.alert, row.unit),
        row.severity,
        row.recommendation,
    )
