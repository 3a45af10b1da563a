"""Recorded series: what alerts and dashboards ask for, computed once.

A share that nothing was counted for is absent, not 0 and not 1: each one divides by `... > 0`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch import semconv
from orchwatch.mixin.lib import level_series, promql
from orchwatch.mixin.lib.promql import DURATION, OPERATION, number, selector
from orchwatch.mixin.lib.rule import Record, group

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.targets.target_table import LevelTarget, Targets

# Longer windows are added up from what was counted every `_STEP`: else a month of raw samples, one
# every two seconds, would be read again and again. These counts have names of their own, as there
# is one each step, not one each evaluation.
_MAX_RAW_S = 6 * 3600
_STEP = "2m"
_EACH_STEP = "_step"

# The table itself.
TARGET = "operation:orchestration_target:seconds"
WARNING = "operation:orchestration_warning:seconds"
OBJECTIVE = "operation:orchestration_objective:ratio"
EDGE = "orchestration:duration_edge:seconds"
LEVEL_TARGET = "orchestration:level_target:value"
LEVEL_WARNING = "orchestration:level_warning:value"

ENDED = "operation:orchestration_operations:increase"
FAILED = "operation:orchestration_errors:increase"
WITHIN = "operation:orchestration_within_target:increase"
ERROR_RATIO = "operation:orchestration_errors:ratio"
WITHIN_RATIO = "operation:orchestration_within_target:ratio"
BURN = "operation:orchestration_latency_burn:ratio"
BUDGET_LEFT = "operation:orchestration_latency_budget_left:ratio"
P95 = "operation:orchestration_duration_seconds:p95_"
MEAN = "operation:orchestration_duration_seconds:mean"
ALL_ENDED = "orchestration:operations:increase"
ALL_FAILED = "orchestration:errors:increase"
AVAILABILITY = "orchestration:availability:ratio"
CONSISTENCY = "orchestration:consistency:ratio"
ERROR_BURN = "orchestration:error_burn:ratio"
ERROR_BUDGET_LEFT = "orchestration:error_budget_left:ratio"
VIOLATIONS = "orchestration:consistency_violations:increase"

_BY_OPERATION = f"sum by ({OPERATION})"
# Availability is that of the table's operations, as `analysis.levels` counts: a user's command or
# an agent's tool may fail without the system being unavailable.
OF_THE_TABLE = f"and on ({OPERATION}) {OBJECTIVE}"
_FAILED_SELECTOR = selector(status_code=semconv.STATUS_ERROR)


def groups(table: Targets, settings: Settings) -> list[dict[str, Any]]:
    """The groups of the rule file, in the order in which they build on each other."""
    windows = settings.windows()
    short = [one for one in windows if promql.seconds(one) <= _MAX_RAW_S]
    long = [one for one in windows if one not in short]
    return [
        group("table", _data(_table(table))),
        *(group(f"window-{one}", _data(_window(table, settings, one))) for one in short),
        group("windows-long", _data(_long_windows(table, settings, long)), interval=_STEP),
        group("durations", _data(_durations(settings.window))),
        group("levels", _data(_levels(table, settings))),
    ]


def _data(records: Iterable[Record]) -> list[dict[str, Any]]:
    return [record.data() for record in records]


def _table(table: Targets) -> list[Record]:
    """The table itself, so that a panel draws the line that the alert means."""
    operations = [
        _constant(name, value, OPERATION, row.id)
        for row in table.operations.values()
        for name, value in (
            (TARGET, row.target_s),
            (WARNING, row.warning_s),
            (OBJECTIVE, row.objective),
        )
    ]
    levels = [
        _constant(name, value, "target", row.id)
        for row in table.levels.values()
        for name, value in ((LEVEL_TARGET, row.target), (LEVEL_WARNING, row.warning))
    ]
    edges = [_constant(EDGE, edge_s, "le", number(edge_s)) for edge_s in table.edges_s]
    return operations + levels + edges


def _constant(name: str, value: float, label: str, row_id: str) -> Record:
    return Record(name=name, expr=f"vector({number(value)})", labels={label: row_id})


def _counts(table: Targets, window: str, suffix: str) -> list[Record]:
    every, failed = f"{DURATION}_count", f"{DURATION}_count{_FAILED_SELECTOR}"
    # Steps are added up to a number that promises to count.
    increase = promql.counted if suffix == _EACH_STEP else _increase
    counted = {
        ENDED: f"{_BY_OPERATION} ({increase(every, window)})",
        FAILED: f"{_BY_OPERATION} ({increase(failed, window)})",
        VIOLATIONS: f"sum(increase({level_series.VIOLATIONS}[{window}]))",
    }
    counts = [Record(name=f"{name}{suffix}", expr=expr) for name, expr in counted.items()]
    for row in table.operations.values():
        bucket = f"{DURATION}_bucket{selector(operation=row.id, le=number(row.target_s))}"
        expr = f"{_BY_OPERATION} ({increase(bucket, window)})"
        counts.append(Record(name=f"{WITHIN}{suffix}", expr=expr, labels={OPERATION: row.id}))
    return counts


def _increase(counter: str, window: str) -> str:
    return f"increase({counter}[{window}])"


def _window(table: Targets, settings: Settings, window: str) -> list[Record]:
    return [*_counts(table, window, window), *_shares(table, settings, window)]


def _long_windows(table: Targets, settings: Settings, windows: list[str]) -> list[Record]:
    records = _counts(table, _STEP, _EACH_STEP)
    for window in windows:
        records += [
            Record(name=f"{name}{window}", expr=f"sum_over_time({name}{_EACH_STEP}[{window}])")
            for name in (ENDED, FAILED, VIOLATIONS, WITHIN)
        ]
        records += _shares(table, settings, window)
    return records


def _shares(table: Targets, settings: Settings, window: str) -> list[Record]:
    ended, failed = f"{ENDED}{window}", f"{FAILED}{window}"
    state = f"sum({ended}{promql.one_of(level_series.STATE_OPERATIONS)})"
    violations = f"({VIOLATIONS}{window} or vector(0))"
    shares = {
        # No operation has failed yet: the series does not exist, and the share is 0.
        ERROR_RATIO: f"({failed} or {ended} * 0) / ({ended} > 0)",
        WITHIN_RATIO: f"{WITHIN}{window} / ({ended} > 0)",
        BURN: f"(1 - {WITHIN_RATIO}{window}) / (1 - {OBJECTIVE})",
        ALL_ENDED: f"sum({ended} {OF_THE_TABLE})",
        ALL_FAILED: f"sum({failed} {OF_THE_TABLE}) or {ALL_ENDED}{window} * 0",
        AVAILABILITY: f"1 - {ALL_FAILED}{window} / ({ALL_ENDED}{window} > 0)",
        # What was found to be inconsistent counts also where nothing else was done to the state.
        CONSISTENCY: f"clamp_min(1 - {violations} / ({state} > 0), 0) or ({violations} > 0) * 0",
    }
    records = [Record(name=f"{name}{window}", expr=expr) for name, expr in shares.items()]
    for row_id, objective in level_series.objectives(table).items():
        # Where nothing may fail there is no budget to be spent.
        if objective < 1:
            expr = f"(1 - {AVAILABILITY}{window}) / {number(1 - objective)}"
            labels = {"target": row_id}
            records.append(Record(name=f"{ERROR_BURN}{window}", expr=expr, labels=labels))
    if window == settings.period:
        records += [_level(row, settings) for row in table.levels.values() if _is_counted(row)]
        records.append(Record(name=BUDGET_LEFT, expr=f"1 - {BURN}{window}"))
        records.append(Record(name=ERROR_BUDGET_LEFT, expr=f"1 - {ERROR_BURN}{window}"))
    return records


def _durations(window: str) -> list[Record]:
    """Percentiles by interpolation, as a line to look at and to follow; a threshold is an edge."""
    rate = f"sum by ({OPERATION}, le) (rate({DURATION}_bucket[{window}]))"
    records = [
        Record(
            name=f"operation:orchestration_duration_seconds:p{percent}_{window}",
            # Without traffic it is no number: the comparison is false and the series absent.
            expr=f"histogram_quantile({number(percent / 100)}, {rate}) >= 0",
        )
        for percent in (50, 95, 99)
    ]
    total_s = f"{_BY_OPERATION} (increase({DURATION}_sum[{window}]))"
    count = f"{_BY_OPERATION} (increase({DURATION}_count[{window}]))"
    return [*records, Record(name=f"{MEAN}{window}", expr=f"{total_s} / ({count} > 0)")]


def _levels(table: Targets, settings: Settings) -> list[Record]:
    storage = promql.series(semconv.STORAGE_SIZE, "By")
    return [
        Record(name=level_series.STORAGE, expr=f"max({storage})"),
        Record(name=level_series.DISK_FREE, expr=f"min({level_series.FREE})"),
        *(_level(row, settings) for row in table.levels.values() if not _is_counted(row)),
    ]


def _level(row: LevelTarget, settings: Settings) -> Record:
    counted = {
        level_series.AVAILABILITY: f"{AVAILABILITY}{settings.period}",
        level_series.ERROR_RATE: f"1 - {AVAILABILITY}{settings.period}",
        level_series.CONSISTENCY: f"{CONSISTENCY}{settings.period}",
    }
    expr = counted[row.id] if _is_counted(row) else level_series.gauge(row).expr
    return Record(name=level_series.VALUE, expr=expr, labels={"target": row.id})


def _is_counted(row: LevelTarget) -> bool:
    return row.id in level_series.COUNTED
