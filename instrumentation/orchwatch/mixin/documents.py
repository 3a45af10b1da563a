"""The table as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.reporters import units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchwatch.targets import LevelTarget, Targets

_SIGNS = {"below": "≤", "above": "≥"}


def target_tables(table: Targets) -> list[str]:
    """Three tables: operations, reliability, levels."""
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
        *_table(
            ("id", "operation", "target", "warn up to", "alert", "objective", "severity", "do"),
            operations,
        ),
    ]
    for group, title in (("reliability", "Reliability"), ("levels", "Levels")):
        rows = [_level(row) for row in table.levels.values() if row.group == group]
        header = ("id", "what", "target", "warn up to", "alert", "severity", "do")
        parts += ["", f"## {title}", "", *_table(header, rows)]
    return [*parts, ""]


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


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    lines = [header, ("---",) * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
