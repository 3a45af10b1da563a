"""Every row of the table alerts, and a changed number changes what follows from it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from orchwatch.mixin import generate
from orchwatch.mixin.alerts import catalog, promtool
from orchwatch.mixin.lib import alerting, level_series
from orchwatch.mixin.rules import recording
from orchwatch.targets import target_table
from orchwatch.targets.config import Config

if TYPE_CHECKING:
    from orchwatch.mixin.lib.rule import AlertRule
    from orchwatch.targets.target_table import Targets

REPO = Path(__file__).parents[3]
DASHBOARDS = {
    f"orchwatch-{name}"
    for name in ("overview", "operations", "agents", "session", "resources", "kpis", "pipeline")
}
TABLE = target_table.load(Config())
SETTINGS = alerting.load(Config())
EVERY = catalog.every(TABLE, SETTINGS)
RULE_FILES = {
    "recording": catalog.recording_file,
    "alerts": catalog.alerts_file,
    "regression": catalog.regression_file,
}

Rule = dict[str, Any]


def with_row(table: str, row_id: str, **values: Any) -> Targets:
    return target_table.load(Config(targets={table: {row_id: values}}))


def rules(table: Targets) -> list[Rule]:
    """Every rule of every file; the tests of the alerts are not among them."""
    files = [yaml.safe_load(make(table)) for make in RULE_FILES.values()]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def changed(table: Targets) -> list[Rule]:
    """The rules that another table has and this one has not, without the histogram's edges."""
    before = rules(TABLE)
    found = [rule for rule in rules(table) if rule not in before]
    return [rule for rule in found if rule.get("record") != recording.EDGE]


def names(found: list[Rule]) -> set[str]:
    return {rule.get("alert") or rule["record"] for rule in found}


@pytest.mark.parametrize("row_id", [*TABLE.operations, *TABLE.levels])
def test_every_row_of_the_table_has_an_alert_with_its_severity_and_recommendation(
    row_id: str,
) -> None:
    row = TABLE.operations.get(row_id) or TABLE.levels[row_id]
    kinds = {"burn", "threshold"}
    found = [alert for alert in EVERY if alert.target == row_id and alert.kind in kinds]
    assert found
    assert {alert.severity for alert in found} == {row.severity}
    assert {alert.recommendation for alert in found} == {row.recommendation}


@pytest.mark.parametrize("row_id", TABLE.operations)
def test_every_operation_is_predicted_and_compared_with_its_past(row_id: str) -> None:
    kinds = {alert.kind for alert in EVERY if alert.target == row_id}
    assert kinds >= {"burn", "prediction", "anomaly", "regression"}


@pytest.mark.parametrize("alert", EVERY, ids=lambda alert: f"{alert.name} {alert.target}")
def test_an_alert_links_to_an_entry_and_a_dashboard_that_exist(alert: AlertRule) -> None:
    annotations = alert.data(SETTINGS)["annotations"]
    page, _, anchor = annotations["runbook_url"].partition("#")
    assert page == SETTINGS.runbook
    headings = re.findall(r"^## (\w+)$", (REPO / "docs/runbook.md").read_text(), re.MULTILINE)
    assert anchor in [heading.lower() for heading in headings]
    served = (REPO / "prometheus/assets/runbook.html").read_text()
    assert {anchor, alert.name} <= set(re.findall(r'id="(\w+)"', served))
    assert alert.dashboard.partition("?")[0] in DASHBOARDS
    assert annotations["dashboard_url"].startswith(SETTINGS.grafana)
    assert annotations["recommendation"]


def test_no_two_alerts_have_the_same_identity() -> None:
    assert len({(alert.name, alert.target) for alert in EVERY}) == len(EVERY)


@pytest.mark.parametrize("alert", EVERY, ids=lambda alert: f"{alert.name} {alert.target}")
def test_a_summary_shows_the_value(alert: AlertRule) -> None:
    without_value = {"Watchdog", "CollectorDown", "MonitorDown", "NoOperations"}
    assert ("$value" in alert.summary) == (alert.name not in without_value)


def test_another_target_changes_what_follows_from_it_and_nothing_else() -> None:
    found = changed(with_row("operations", "state.query", target_s=0.04, warning_s=0.06))
    for rule in found:
        assert "state.query" in rule["labels"].values()
    assert names(found) >= {
        "operation:orchestration_target:seconds",
        "operation:orchestration_within_target:increase10m",
        "LatencyBudgetBurn",
        "LatencyTrend",
    }
    unchanged = {"LatencyOverThreshold", "operation:orchestration_warning:seconds"}
    assert not names(found) & unchanged


def test_another_alert_threshold_changes_one_alert() -> None:
    (rule,) = changed(with_row("operations", "state.query", alert_s=0.08))
    assert rule["alert"] == "LatencyOverThreshold"
    assert rule["expr"].endswith("> 0.08")
    assert "80ms" in rule["annotations"]["summary"]


def test_another_objective_changes_the_shares_that_burn() -> None:
    found = changed(with_row("operations", "state.query", objective=0.99))
    assert names(found) == {"operation:orchestration_objective:ratio", "LatencyBudgetBurn"}
    (burn,) = (rule for rule in found if "alert" in rule)
    shares = sorted({float(share) for share in re.findall(r"> ([\d.]+)", burn["expr"])})
    assert shares == pytest.approx(sorted(burn.factor * 0.01 for burn in SETTINGS.burns))


def test_another_level_changes_its_alert_and_its_prediction() -> None:
    found = changed(with_row("levels", "memory.utilization", alert=0.9))
    assert names(found) == {"MemoryUtilizationHigh", "MemoryUtilizationSoonHigh"}


def test_an_operation_of_the_users_own_is_recorded_alerted_on_and_tested() -> None:
    table = with_row("operations", "review.run", target_s=90, recommendation="Split it")
    found = [rule for rule in changed(table) if "review.run" in rule.get("labels", {}).values()]
    assert names(found) >= {
        "operation:orchestration_within_target:increase10m",
        "LatencyBudgetBurn",
        "LatencyTrend",
        "LatencyAnomaly",
        "LatencyRegression",
    }
    (burn,) = (rule for rule in found if rule.get("alert") == "LatencyBudgetBurn")
    assert burn["annotations"]["recommendation"] == "Split it"
    for make in (promtool.alerts_test, promtool.trends_test, promtool.regression_test):
        assert 'target=\\"review.run\\"' in make(table)


def test_what_a_histogram_cannot_tell_apart_is_not_followed() -> None:
    shortest_s = TABLE.edges_s[0]
    table = with_row("operations", "quick.run", target_s=shortest_s)
    kinds = {one.kind for one in catalog.every(table, SETTINGS) if one.target == "quick.run"}
    assert kinds == {"burn"}


def test_a_level_of_the_users_own_is_read_from_the_gauge_of_its_name() -> None:
    own = {"direction": "above", "target": 0.8, "unit": "1"}
    found = changed(with_row("levels", "cache.hit", **own))
    (value,) = (rule for rule in found if rule.get("record") == level_series.VALUE)
    assert value["expr"] == "min(orchestration_cache_hit_ratio)"
    (alert,) = (rule for rule in found if rule.get("alert") == "CacheHitLow")
    assert alert["annotations"]["dashboard_url"].endswith("/d/orchwatch-overview")


# The error rate is that of an operation, whose page shows its errors.
@pytest.mark.parametrize("row_id", sorted(TABLE.levels.keys() - {level_series.ERROR_RATE}))
def test_a_level_alerts_with_a_link_to_a_page_that_shows_it(row_id: str) -> None:
    page = level_series.dashboard(TABLE.levels[row_id]).removeprefix("orchwatch-")
    shown = (REPO / "grafana" / "dashboards" / f"{page}.json").read_text()
    assert row_id in shown.replace("\\", "")


@pytest.mark.parametrize("profile", ["laptop", "server"])
def test_every_profile_records_each_window_that_its_alerts_ask_for(profile: str) -> None:
    Path("orchwatch.toml").write_text(f'[alerting]\nprofile = "{profile}"\n')
    found = rules(TABLE)
    recorded = {rule["record"] for rule in found if "record" in rule}
    asked = {name for rule in found for name in re.findall(r"[a-z_]+:[a-z_]+:\w+", rule["expr"])}
    assert asked <= recorded


def test_every_generated_file_that_is_one_says_so_on_its_first_line() -> None:
    for name in generate.FILES:
        if name.endswith(".yml"):
            assert "enerated" in (REPO / name).read_text().splitlines()[0]


def test_what_alertmanager_holds_back_are_alerts_that_exist() -> None:
    text = (REPO / "alertmanager/alertmanager.yml").read_text()
    found = yaml.safe_load(text)
    known: dict[str, set[str]] = {
        "alertname": {alert.name for alert in EVERY},
        "kind": {alert.kind for alert in EVERY},
        "symptom": {alert.symptom for alert in EVERY},
        "severity": {alert.severity for alert in EVERY},
    }
    for rule in found["inhibit_rules"]:
        for matcher in [*rule["source_matchers"], *rule["target_matchers"]]:
            parts = re.fullmatch(r'(\w+)(?:=|=~|!~)"([\w|]+)"', matcher)
            assert parts, matcher
            if parts[1] in known:
                assert set(parts[2].split("|")) <= known[parts[1]], matcher
            else:
                assert any(parts[1] in alert.labels for alert in EVERY), matcher
