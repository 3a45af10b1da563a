"""Who serves what the pipeline's alerts and its page ask for, and where their limits come from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from orchwatch.diagnosis.spool_backlog import Backlog
from orchwatch.mixin import dashboards
from orchwatch.mixin.alerts import pipeline
from orchwatch.mixin.lib import alerting, promql
from orchwatch.monitor import exposition
from orchwatch.targets.config import Config
from orchwatch.targets.target_table import load

REPO = Path(__file__).parents[3]
TABLE = load(Config())
SETTINGS = alerting.load(Config())
ALERTS = {one.name: one for one in pipeline.alerts(TABLE, SETTINGS)}
PAGE = json.loads(dashboards.text("pipeline", TABLE))
PANELS = {
    one["title"]: one
    for placed in PAGE["panels"]
    for one in (placed["panels"] if placed["type"] == "row" else [placed])
}
ASKED = " ".join(
    [
        *(target["expr"] for panel in PANELS.values() for target in panel["targets"]),
        *(alert.expr for alert in ALERTS.values()),
    ]
)


def test_the_monitor_process_serves_each_of_its_figures_that_is_asked_for() -> None:
    backlog = Backlog(family="operations", size_bytes=1, unread_bytes=1, age_s=1.0)
    served = set(re.findall(r"^(\w+)", exposition.text([backlog], 1, {}).decode(), re.MULTILINE))
    asked = set(
        re.findall(r"orchestration_(?:spool|telemetry)_(?:\w+_bytes|\w+_total|\w+_seconds)", ASKED)
    )
    assert len(asked) == 5
    assert asked <= served


@pytest.mark.parametrize("job", ["alertmanager", "prometheus", "tempo"])
def test_prometheus_keeps_of_a_server_what_is_asked_for_and_no_more(job: str) -> None:
    config = yaml.safe_load((REPO / "prometheus/prometheus.yml").read_text())
    (scraped,) = (one for one in config["scrape_configs"] if one["job_name"] == job)
    (kept,) = (one for one in scraped["metric_relabel_configs"] if one["action"] == "keep")
    own = set(re.findall(rf"\b{job}(?:db)?_\w+", ASKED))
    resident = {"process_resident_memory_bytes"}
    assert set(kept["regex"].split("|")) == own | resident


def test_the_pages_limits_are_those_of_the_alerts() -> None:
    limits = SETTINGS.pipeline
    behind_s = promql.seconds(limits["behind"])
    assert ALERTS["SpoolBacklog"].expr.endswith(f"> {behind_s}")
    assert _limits("Oldest unread") == [behind_s]
    assert _limits("How full the queues are") == [limits["filled"], limits["full"]]
    near = promql.number(limits["near"])
    assert ALERTS["SpoolNearBudget"].expr.endswith(f"> {near}")
    (alert_line,) = (
        one["expr"]
        for one in PANELS["The spool against its budget"]["targets"]
        if one["legendFormat"] == "alert"
    )
    assert alert_line.endswith(f"* {near}")


def _limits(title: str) -> list[float]:
    steps = PANELS[title]["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return [one["value"] for one in steps if one["value"] is not None]


def test_the_answer_stands_first() -> None:
    first = PAGE["panels"][0]
    assert (first["title"], first["gridPos"]["x"], first["gridPos"]["y"]) == (
        "Is all arriving?",
        0,
        0,
    )
