from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchwatch.analysis import health
from orchwatch.targets import config, target_table
from orchwatch.targets.config import Config

if TYPE_CHECKING:
    from pathlib import Path

TABLE = target_table.load(Config())
RULES = health.load(TABLE)

PERFECT: dict[str, float | None] = {
    "session.init": 0.1, "state.query": 0.05, "cpu.utilization": 0.6,
    "memory.utilization": 0.6, "task.success": 0.95,
}  # fmt: skip


@pytest.mark.parametrize(
    ("row_id", "steps"),
    [
        # The requirements' calculate_health_score(), in seconds and shares.
        ("session.init", [(0.1, 1.0), (0.1001, 0.8), (0.2, 0.8), (0.2001, 0.5)]),
        ("state.query", [(0.05, 1.0), (0.0501, 0.8), (0.1, 0.8), (0.1001, 0.5)]),
        ("cpu.utilization", [(0.6, 1.0), (0.601, 0.8), (0.8, 0.8), (0.801, 0.5)]),
        ("memory.utilization", [(0.6, 1.0), (0.601, 0.8), (0.8, 0.8), (0.801, 0.5)]),
        ("task.success", [(0.95, 1.0), (0.9499, 0.8), (0.9, 0.8), (0.8999, 0.5)]),
    ],
)
def test_each_part_scores_as_the_requirements_say(
    row_id: str, steps: list[tuple[float, float]]
) -> None:
    for value, score in steps:
        assert health.score(RULES, {row_id: value}).score == score


def test_the_parts_are_the_requirements() -> None:
    assert set(RULES.parts) == set(PERFECT)
    assert health.score(RULES, PERFECT).score == 1


def test_only_what_was_measured_counts() -> None:
    assert health.score(RULES, {"session.init": 0.5, "state.query": None}).score == 0.5
    nothing = health.score(RULES, {"state.persist": 1.0})
    assert (nothing.score, nothing.status) == (None, "unknown")


def test_a_score_has_to_be_beyond_a_limit() -> None:
    fair = {"session.init": 0.2, "state.query": 0.1, "cpu.utilization": 0.8}
    found = health.score(RULES, fair)
    # The mean of three 0.8 is 0.8000000000000002 in floating point.
    assert (found.score, found.status) == (0.8, "degraded")
    assert health.score(RULES, PERFECT).status == "healthy"
    poor = health.score(RULES, {"session.init": 1.0, "state.query": 1.0})
    assert (poor.score, poor.status) == (0.5, "critical")
    assert health.score(RULES, {**fair, "task.success": 0.5}).status == "degraded"


def test_the_first_step_is_the_target_and_follows_the_users_own(tmp_path: Path) -> None:
    file = tmp_path / "orchwatch.toml"
    file.write_text('[operations."state.query"]\ntarget_s = 0.3\n')
    rules = health.load(target_table.load(config.load(file)))
    assert health.score(rules, {"state.query": 0.3}).score == 1
    assert health.score(rules, {"state.query": 0.301}).score == 0.5


def test_alerts_are_what_lies_beyond_the_requirements_thresholds() -> None:
    thresholds: dict[str, float | None] = {
        "session.init": 0.15, "state.query": 0.075, "cpu.utilization": 0.85,
        "memory.utilization": 0.80, "task.success": 0.90, "task.errors": 0.02,
    }  # fmt: skip
    assert health.alerts(TABLE, thresholds) == []
    beyond = {
        row_id: value - 0.001 if row_id == "task.success" else value + 0.001
        for row_id, value in thresholds.items()
        if value is not None
    }
    found = health.alerts(TABLE, beyond)
    assert [(alert.id, alert.severity) for alert in found] == [
        ("cpu.utilization", "critical"),
        ("memory.utilization", "critical"),
        ("task.errors", "critical"),
        ("session.init", "warning"),
        ("state.query", "warning"),
        ("task.success", "warning"),
    ]
    assert found[0].recommendation == "Reduce agent concurrency or optimize workflows"
    assert found[0].threshold == 0.85


def test_what_was_not_measured_exceeds_nothing() -> None:
    assert health.alerts(TABLE, {"cpu.utilization": None}) == []


def test_nothing_says_well_while_a_target_is_missed_or_an_alert_fires() -> None:
    well = health.judged(TABLE, RULES, PERFECT)
    assert (well.score, well.status) == (1, "healthy")
    # Neither is a part of the score.
    missed = health.judged(TABLE, RULES, {**PERFECT, "state.persist": 1.0})
    assert (missed.score, missed.status) == (1, "degraded")
    warned = health.judged(TABLE, RULES, {**PERFECT, "session.init": 0.16})
    assert (warned.status, warned.score) == ("degraded", 0.96)
    critical = health.judged(TABLE, RULES, {**PERFECT, "task.errors": 0.03})
    assert (critical.score, critical.status) == (1, "critical")
    alone = health.judged(TABLE, RULES, {"state.persist": 1.0})
    assert (alone.score, alone.status) == (None, "degraded")
    nothing = health.judged(TABLE, RULES, {})
    assert (nothing.score, nothing.status) == (None, "unknown")
