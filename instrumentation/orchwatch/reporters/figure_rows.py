"""What is measured as rows of one table: for JSON, a spreadsheet, Parquet."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

from orchwatch.reporters import json_document
from orchwatch.reporters.kpi_list import FIGURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchwatch.analysis.snapshot import OperationReading, Snapshot
    from orchwatch.store.spans import Summary
    from orchwatch.targets.target_table import Targets

COLUMNS = {
    "kind": "VARCHAR",
    "name": "VARCHAR",
    "since": "TIMESTAMP",
    "until": "TIMESTAMP",
    "count": "BIGINT",
    "errors": "BIGINT",
    "p50_s": "DOUBLE",
    "p95_s": "DOUBLE",
    "p99_s": "DOUBLE",
    "under_target": "DOUBLE",
    "value": "DOUBLE",
    "unit": "VARCHAR",
    "target": "DOUBLE",
    "status": "VARCHAR",
}
"""Of each row, with DuckDB's types."""

_NS = 1_000_000_000

Rows = list[dict[str, Any]]


def of_snapshot(taken: Snapshot, kpis: Mapping[str, float | None]) -> Rows:
    """A row for each operation, each level and each key figure."""
    since = None if taken.since is None else _iso(taken.since)
    window = {"since": since, "until": _iso(taken.as_of)}
    rows: Rows = [
        _operation(
            one,
            one.id,
            window,
            under_target=one.under_target,
            target_s=one.target_s,
            status=one.status,
        )
        for one in taken.operations
    ]
    rows += [
        _row(
            "level",
            one.id,
            window,
            value=one.value,
            unit=one.unit,
            target=one.target,
            status=one.status,
        )
        for one in taken.levels
    ]
    rows += [
        _row("kpi", name, window, value=kpis[name], unit=unit)
        for name, (_, unit) in FIGURES.items()
    ]
    return rows


def of_steps(steps: Iterable[tuple[int, Summary]], step_ns: int, targets: Targets) -> Rows:
    """A row for each operation in each step of a range."""
    rows = []
    for start_ns, one in steps:
        target = targets.operations.get(one.operation)
        under = one.under_target
        window = {"since": _moment(start_ns), "until": _moment(start_ns + step_ns)}
        rows.append(
            _operation(
                one,
                one.operation,
                window,
                under_target=None if under is None else under / one.count,
                target_s=target.target_s if target else None,
                status=target.status(one.p95_s) if target else "unknown",
            )
        )
    return rows


def render_json(rows: Rows, file: TextIO) -> None:
    """Writes an object with all rows."""
    json_document.answer("export", {"rows": rows}, file)


def render_csv(rows: Rows, file: TextIO) -> None:
    """Writes a line of names and one a row; null is empty."""
    writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _operation(
    one: OperationReading | Summary,
    name: str,
    window: Mapping[str, str | None],
    *,
    under_target: float | None,
    target_s: float | None,
    status: str,
) -> dict[str, Any]:
    return _row(
        "operation",
        name,
        window,
        count=one.count,
        errors=one.errors,
        p50_s=one.p50_s,
        p95_s=one.p95_s,
        p99_s=one.p99_s,
        under_target=under_target,
        unit="s",
        target=target_s,
        status=status,
    )


def _row(kind: str, name: str, window: Mapping[str, str | None], **figures: Any) -> dict[str, Any]:
    return {**dict.fromkeys(COLUMNS), "kind": kind, "name": name, **window, **figures}


def _moment(time_ns: int) -> str:
    return _iso(datetime.fromtimestamp(time_ns / _NS, UTC))


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
