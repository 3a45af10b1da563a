"""promtool's tests of the alerts: for each one a case in which it fires and one in which not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.mixin.alerts import catalog, regression
from orchwatch.mixin.lib import alerting, promql, yaml_text
from orchwatch.mixin.rules import recording

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.mixin.lib.rule import AlertRule
    from orchwatch.targets.target_table import Targets

_RULES = "../../prometheus/rules"
# Between two samples of the cases.
_SAMPLES = "1m"
# Cases that last longer than this are evaluated once in a while only: else they would take minutes.
_MAX_S = 2 * 3600
_QUICK, _SLOW, _RARE = "1m", "5m", "15m"


def alerts_test(table: Targets) -> str:
    """`tests/promtool/alerts.test.yml`."""
    return _quick_document(table, _QUICK, long=False)


def trends_test(table: Targets) -> str:
    """`tests/promtool/trends.test.yml`."""
    return _quick_document(table, _SLOW, long=True)


def regression_test(table: Targets) -> str:
    """`tests/promtool/regression.test.yml`."""
    settings = alerting.load()
    groups = regression.groups(table, settings)
    found = regression.alerts(table, settings)
    return _document(["regression.yml"], groups, _RARE, found)


def _quick_document(table: Targets, step: str, *, long: bool) -> str:
    settings = alerting.load()
    groups = [*recording.groups(table, settings), *catalog.groups(table, settings)]
    found = [
        one
        for one in catalog.quick(table, settings)
        if (promql.seconds(one.firing.at) > _MAX_S) == long
    ]
    return _document(["recording.yml", "alerts.yml"], groups, step, found)


def _document(
    files: list[str], groups: list[dict[str, Any]], step: str, found: Iterable[AlertRule]
) -> str:
    by_name: dict[str, list[AlertRule]] = {}
    for alert in found:
        by_name.setdefault(alert.name, []).append(alert)
    tests = []
    for name, same in by_name.items():
        tests.append(_test(f"{name} fires", same, fires=True))
        # The one alert that has no silent case.
        if same[0].expr != "vector(1)":
            tests.append(_test(f"{name} is silent", same, fires=False))
    data = {
        "rule_files": [f"{_RULES}/{file}" for file in files],
        "evaluation_interval": step,
        # In any other order an alert would look at what was recorded a step ago, if at all.
        "group_eval_order": [one["name"] for one in groups],
        "tests": tests,
    }
    return yaml_text.document(data)


def _test(name: str, same: list[AlertRule], *, fires: bool) -> dict[str, Any]:
    series: dict[str, str] = {}
    for alert in same:
        series |= (alert.firing if fires else alert.silent).series
    return {
        "name": name,
        "interval": _SAMPLES,
        "input_series": [{"series": one, "values": values} for one, values in series.items()],
        "promql_expr_test": [_expected(alert, fires=fires) for alert in same],
    }


def _expected(alert: AlertRule, *, fires: bool) -> dict[str, Any]:
    chosen = {"alertname": alert.name, "alertstate": "firing"}
    if alert.target:
        chosen["target"] = alert.target
    case = alert.firing if fires else alert.silent
    labels = {**chosen, **alert.own_labels(), **alert.labels}
    firing = [{"labels": f"ALERTS{promql.selector(**labels)}", "value": 1}]
    return {
        "expr": f"ALERTS{promql.selector(**chosen)}",
        "eval_time": case.at,
        "exp_samples": firing if fires else [],
    }
