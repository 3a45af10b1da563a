"""Every alert there is, and the files that they become."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchwatch.mixin.alerts import (
    failures,
    latency,
    levels,
    messages,
    overall,
    pipeline,
    regression,
)
from orchwatch.mixin.lib import alerting, yaml_text
from orchwatch.mixin.lib.rule import group
from orchwatch.mixin.rules import recording

if TYPE_CHECKING:
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.mixin.lib.rule import AlertRule
    from orchwatch.targets.target_table import Targets


def quick(table: Targets, settings: Settings) -> list[AlertRule]:
    """Alerts that are evaluated all the time; `regression` has the others."""
    return [
        *latency.alerts(table, settings),
        *failures.alerts(table, settings),
        *levels.alerts(table, settings),
        *overall.alerts(table, settings),
        *messages.alerts(settings),
        *pipeline.alerts(table, settings),
    ]


def every(table: Targets, settings: Settings) -> list[AlertRule]:
    """All of them."""
    return [*quick(table, settings), *regression.alerts(table, settings)]


def groups(table: Targets, settings: Settings) -> list[dict[str, Any]]:
    """A group for each kind of the quick ones."""
    kinds: dict[str, list[AlertRule]] = {}
    for alert in quick(table, settings):
        kinds.setdefault(alert.kind, []).append(alert)
    return [group(kind, [alert.data(settings) for alert in found]) for kind, found in kinds.items()]


def recording_file(table: Targets) -> str:
    """`prometheus/rules/recording.yml`."""
    return yaml_text.document({"groups": recording.groups(table, alerting.load())})


def alerts_file(table: Targets) -> str:
    """`prometheus/rules/alerts.yml`."""
    return yaml_text.document({"groups": groups(table, alerting.load())})


def regression_file(table: Targets) -> str:
    """`prometheus/rules/regression.yml`."""
    return yaml_text.document({"groups": regression.groups(table, alerting.load())})
