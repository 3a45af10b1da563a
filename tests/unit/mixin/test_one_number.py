"""One number changed in the table: what follows from it changes, and nothing else."""

from __future__ import annotations

import re
from difflib import unified_diff
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from orchwatch.mixin import generate
from orchwatch.mixin.lib import alerting
from orchwatch.mixin.rules import recording
from orchwatch.targets import target_table
from orchwatch.targets.config import Config

if TYPE_CHECKING:
    from pathlib import Path

    from orchwatch.targets.target_table import Targets

# A file's name, and what in it differs.
Changes = dict[str, set[str]]

TABLE = target_table.load(Config())
SETTINGS = alerting.load(Config())
QUERY = "state.query"
WINDOWS = SETTINGS.windows()
# Of what is added up step by step, the steps are counted.
SHORT = [one for one in WINDOWS if one != SETTINGS.period]

RECORDING, ALERTS, TESTS = (
    "prometheus/rules/recording.yml",
    "prometheus/rules/alerts.yml",
    "tests/promtool/alerts.test.yml",
)
TRENDS, REGRESSION = "tests/promtool/trends.test.yml", "tests/promtool/regression.test.yml"
RUNBOOK, SERVED = "docs/runbook.md", "prometheus/assets/runbook.html"
DOCUMENTS = ("docs/targets.md", RUNBOOK, SERVED)
OVERVIEW = "grafana/dashboards/overview.json"


def generated(table: Targets) -> dict[str, str]:
    """Every generated file or part of one."""
    parts = {
        name: "\n".join(line for part in own for line in part.make(table))
        for name, own in generate.PARTS.items()
    }
    return parts | {name: make(table) for name, make in generate.FILES.items()}


@pytest.fixture(scope="module")
def as_shipped() -> dict[str, str]:
    """What is generated from the table that nobody changed."""
    return generated(TABLE)


def changes(before: dict[str, str], after: dict[str, str]) -> Changes:
    """What differs: rules and tests by name and row, lines by row; of a page, that it does."""
    return {
        name: _differing(name, text, after[name])
        for name, text in before.items()
        if text != after[name]
    }


def _differing(name: str, before: str, after: str) -> set[str]:
    if name.endswith(".json"):
        return set()
    if name.endswith(".yml"):
        return _unlike(_items(yaml.safe_load(before)), _items(yaml.safe_load(after)))
    lines = unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    changed = [line[1:] for line in list(lines)[2:] if not line.startswith("@@")]
    ids = [*TABLE.operations, *TABLE.levels]
    return {next((one for one in ids if one in line), line) for line in changed}


def _items(document: dict[str, Any]) -> dict[str, Any]:
    rules = [rule for group in document.get("groups", []) for rule in group["rules"]]
    named = {
        f"{rule.get('alert') or rule['record']} {_row(rule.get('labels', {}))}": rule
        for rule in rules
    }
    return named | {test["name"]: test for test in document.get("tests", [])}


def _row(labels: dict[str, str]) -> str:
    named = ("target", "orchestration_operation_name", "le")
    return next((labels[name] for name in named if name in labels), "")


def _unlike(old: dict[str, Any], new: dict[str, Any]) -> set[str]:
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def both(*names: str) -> set[str]:
    """The firing and the silent case of alerts."""
    return {f"{name} {ends}" for name in names for ends in ("fires", "is silent")}


EXPECTED: dict[str, tuple[dict[str, dict[str, dict[str, float]]], Changes]] = {
    "the target of an operation": (
        {"operations": {QUERY: {"target_s": 0.04, "warning_s": 0.06}}},
        {
            "collector/config.yaml": {"- 40ms"},
            RECORDING: {
                f"{recording.EDGE} 0.04",
                f"{recording.TARGET} {QUERY}",
                f"{recording.WITHIN}_step {QUERY}",
                *(f"{recording.WITHIN}{window} {QUERY}" for window in SHORT),
            },
            ALERTS: {f"LatencyBudgetBurn {QUERY}", f"LatencyTrend {QUERY}"},
            # State queries are also what the consistency is told from.
            TESTS: both(
                "LatencyBudgetBurn", "LatencyOverThreshold", "LatencyTrend", "ConsistencyLow"
            ),
            TRENDS: both("LatencyAnomaly"),
            REGRESSION: both("LatencyRegression"),
            **{name: {QUERY} for name in DOCUMENTS},
            OVERVIEW: set(),
        },
    ),
    "the objective of an operation": (
        {"operations": {QUERY: {"objective": 0.9}}},
        {
            RECORDING: {f"{recording.OBJECTIVE} {QUERY}"},
            ALERTS: {f"LatencyBudgetBurn {QUERY}"},
            TESTS: both("LatencyBudgetBurn"),
            **{name: {QUERY} for name in DOCUMENTS},
        },
    ),
    "the alert threshold of an operation": (
        {"operations": {QUERY: {"alert_s": 0.08}}},
        {
            "collector/config.yaml": {"- 75ms", "- 80ms"},
            RECORDING: {f"{recording.EDGE} 0.075", f"{recording.EDGE} 0.08"},
            ALERTS: {f"LatencyOverThreshold {QUERY}"},
            TESTS: both("LatencyOverThreshold"),
            **{name: {QUERY} for name in DOCUMENTS},
        },
    ),
    "the alert threshold of a level": (
        {"levels": {"cpu.utilization": {"alert": 0.9}}},
        {
            ALERTS: {"CpuUtilizationHigh cpu.utilization"},
            TESTS: both("CpuUtilizationHigh"),
            **{name: {"cpu.utilization"} for name in DOCUMENTS},
        },
    ),
    "how much may fail": (
        {"reliability": {"availability": {"target": 0.99}}},
        {
            RECORDING: {
                f"{recording.LEVEL_TARGET} availability",
                f"{recording.LEVEL_WARNING} availability",
                *(f"{recording.ERROR_BURN}{window} availability" for window in WINDOWS),
            },
            ALERTS: {"AvailabilityBudgetBurn availability"},
            TESTS: both("AvailabilityBudgetBurn"),
            **{name: {"availability"} for name in DOCUMENTS},
            OVERVIEW: set(),
        },
    ),
}


@pytest.mark.parametrize(("changed", "expected"), EXPECTED.values(), ids=EXPECTED.keys())
def test_a_number_of_the_table_changes_what_follows_from_it_and_nothing_else(
    changed: dict[str, dict[str, dict[str, float]]],
    expected: Changes,
    as_shipped: dict[str, str],
) -> None:
    after = generated(target_table.load(Config(targets=changed)))
    assert changes(as_shipped, after) == expected


def test_a_share_of_a_budget_changes_the_alerts_that_spend_it_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_shipped: dict[str, str]
) -> None:
    text, number = re.subn("budget = 0.20", "budget = 0.25", alerting.FILE.read_text())
    assert number == 1
    file = tmp_path / "alerting.toml"
    file.write_text(text)
    monkeypatch.setattr(alerting, "FILE", file)
    burns = {f"LatencyBudgetBurn {row_id}" for row_id in TABLE.operations}
    failures = {"AvailabilityBudgetBurn availability", "ErrorBudgetBurn error.rate"}
    assert changes(as_shipped, generated(TABLE)) == {ALERTS: burns | failures}
