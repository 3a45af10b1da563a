"""A workload that breaks one target after another, on real servers: exactly those alerts fire."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING

import pytest
from tests.stack.conftest import (
    EVALUATED_WITHIN_S,
    TABLE,
    eventually,
    get,
    run,
    value,
    write_operations,
)

from orchwatch import semconv
from orchwatch.analysis import snapshot
from orchwatch.mixin.alerts import catalog
from orchwatch.mixin.lib import alerting, level_series, promql
from orchwatch.mixin.rules.samples import BEYOND, SHORT, next_edge
from orchwatch.targets.config import Config

if TYPE_CHECKING:
    from collections.abc import Callable

    from native import Stack
    from orchwatch.targets.target_table import LevelTarget

# One worker, one stack at a time.
pytestmark = pytest.mark.xdist_group("rules")

SETTINGS = alerting.load(Config())
EVERY = catalog.every(TABLE, SETTINGS)
OPERATIONS = list(TABLE.operations.values())
LEVELS = [row for row in TABLE.levels.values() if row.id not in level_series.COUNTED]
_HELD_WITHIN_S = EVALUATED_WITHIN_S + promql.seconds(SETTINGS.hold)
# What this machine itself does, and what only may become an alert, belongs to no test of these.
_KINDS = {"burn", "threshold", "pattern"}

GAUGES = """
    import json, sys
    from orchwatch.recording.metrics import gauge
    for name, value, unit, attributes in json.loads(sys.argv[1]):
        gauge(name, value, unit=unit, attributes=attributes)
"""
VIOLATION = """
    from orchwatch import semconv
    from orchwatch.recording.metrics import count
    kind = {semconv.VIOLATION_KIND: "damaged"}
    count(semconv.CONSISTENCY_VIOLATIONS, attributes=kind, unit="{violation}")
"""
# Of the gauges that have some.
ATTRIBUTES = {
    "cpu.utilization": {"cpu.mode": "user"},
    "memory.utilization": {"system.memory.state": "used"},
}


def test_each_latency_target_that_is_broken_burns_and_no_other_until_it_is_met_again(
    own_stack: Stack,
) -> None:
    segment = map(str, count(1))
    for broken in (OPERATIONS[::2], OPERATIONS[1::2]):
        burning = {f"LatencyBudgetBurn {row.id}" for row in broken}
        slow = {row.id: next_edge(TABLE, row.target_s) for row in broken}
        quick = {row.id: row.target_s / 2 for row in OPERATIONS if row not in broken}
        write_operations(own_stack, next(segment), slow | quick, 10)
        _wait_until_firing(own_stack, burning)
        write_operations(
            own_stack, next(segment), {row.id: row.target_s / 2 for row in broken}, 490
        )
        _wait_until_firing(own_stack, set())


def test_slow_operations_failures_and_a_violation_each_make_their_own_alerts_fire(
    own_stack: Stack,
) -> None:
    strict = [row for row in OPERATIONS if row.alert_s is not None]
    slow = {row.id: next_edge(TABLE, row.alert_s or 0) for row in strict}
    over = {
        f"{name} {row.id}"
        for row in strict
        for name in ("LatencyBudgetBurn", "LatencyOverThreshold")
    }
    write_operations(own_stack, "1", slow, 10)
    _wait_until_firing(own_stack, over)
    write_operations(own_stack, "2", dict.fromkeys(slow, 0.001), 490)
    _wait_until_firing(own_stack, set())

    quick = {semconv.EVENT_PROCESS: 0.001}
    write_operations(own_stack, "3", quick, 10, "LookupError")
    budgets = {"ErrorBudgetBurn error.rate", "AvailabilityBudgetBurn availability"}
    _wait_until_firing(own_stack, {*budgets, "ManyErrors errors"})
    # So many others went well that the budget is kept; that ten failed stays true for ten minutes.
    write_operations(own_stack, "4", quick, 20_000)
    _wait_until_firing(own_stack, {"ManyErrors errors"})

    run(own_stack, "state", VIOLATION)
    _wait_until_firing(own_stack, {"ManyErrors errors", "ConsistencyLow consistency"})


# Every level is held beyond its limit and within it again, see `hold` in alerting.toml: five
# minutes of waiting, beside which another worker goes on.
@pytest.mark.xdist_group("levels")
@pytest.mark.timeout(900)
def test_every_level_that_is_beyond_its_limit_alerts_until_it_stays_within(
    own_stack: Stack,
) -> None:
    write_operations(own_stack, "1", {semconv.AGENT_TASK: 1.0}, 3, "LookupError")
    alerting_on = {
        f"{alert.name} {alert.target}"
        for alert in EVERY
        if alert.kind == "threshold" and alert.symptom in {"resource", "kpi"}
    }
    assert len(alerting_on) == len(LEVELS)
    _set_levels(own_stack, lambda row: row.target)
    measured = f"count({level_series.VALUE})"
    assert eventually(lambda: value(own_stack, measured) == len(LEVELS), EVALUATED_WITHIN_S)
    assert _firing(own_stack) == set()
    _set_levels(own_stack, _beyond)
    _wait_until_firing(own_stack, alerting_on, _HELD_WITHIN_S)
    _set_levels(own_stack, lambda row: row.target)
    _wait_until_firing(own_stack, set(), _HELD_WITHIN_S)


def test_availability_is_the_same_on_the_server_and_without_one(own_stack: Stack) -> None:
    known, unknown = semconv.STATE_QUERY, semconv.TOOL_EXECUTE
    write_operations(own_stack, "000001", {known: 0.001}, 30)
    write_operations(own_stack, "000002", {known: 0.001}, 10, "LookupError")
    write_operations(own_stack, "000003", {unknown: 0.001}, 20, "LookupError")
    local = {one.id: one.value for one in snapshot.take(own_stack.home, targets=TABLE).levels}
    assert (local["availability"], local["error.rate"]) == (0.75, 0.25)
    expected = pytest.approx(local["availability"], abs=0.001)
    served = "orchestration:availability:ratio15m"
    # The operations arrive in any order, and their rules are evaluated before those of the whole.
    eventually(lambda: value(own_stack, served) == expected, EVALUATED_WITHIN_S)
    assert value(own_stack, served) == expected


def _beyond(row: LevelTarget) -> float:
    limit = level_series.limit(row)
    if row.direction == "above":
        return limit * SHORT
    return min(limit * BEYOND, 1.0) if row.unit == "1" else limit * BEYOND


def _set_levels(stack: Stack, level: Callable[[LevelTarget], float]) -> None:
    gauges = [
        (level_series.metric(row), level(row), row.unit, ATTRIBUTES.get(row.id)) for row in LEVELS
    ]
    run(stack, "levels", GAUGES, json.dumps(gauges))


def _wait_until_firing(
    stack: Stack, expected: set[str], within_s: float = EVALUATED_WITHIN_S
) -> None:
    eventually(lambda: _firing(stack) == expected, within_s)
    assert _firing(stack) == expected


def _firing(stack: Stack) -> set[str]:
    found = get(f"{stack.prometheus_url}/api/v1/alerts")["data"]["alerts"]
    return {
        f"{one['labels']['alertname']} {one['labels']['target']}"
        for one in found
        if one["state"] == "firing" and one["labels"]["kind"] in _KINDS
    }
