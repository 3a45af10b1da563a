"""A recorded series, an alert, and a group of them, as Prometheus' rule files have them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.targets.target_table import Severity


@dataclass(frozen=True, kw_only=True)
class Record:
    """A recorded series."""

    name: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """As the rule file has it."""
        found: dict[str, Any] = {"record": self.name, "expr": self.expr}
        return {**found, "labels": dict(self.labels)} if self.labels else found


@dataclass(frozen=True, kw_only=True)
class Case:
    """What Prometheus holds in a test of an alert.

    Attributes:
        series: promtool's notation of the samples, by series; one each `step`.
        at: How long after the first sample the alert is looked at.
    """

    series: Mapping[str, str]
    at: str


class Row(Protocol):
    """What an alert takes from a row of the table."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def severity(self) -> Severity: ...
    @property
    def recommendation(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class NoRow:
    """What an alert is about that the table has no row for."""

    title: str
    severity: Severity
    recommendation: str
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class AlertRule:
    """An alert. Alerts of one name differ in their row and share an entry of the runbook.

    Attributes:
        name: The alert's name.
        row: What it is about.
        kind: `burn`, `threshold`, `pattern`, `prediction`, `anomaly`, `regression`, `pipeline`.
        symptom: What is wrong, for inhibition: `latency`, `errors`, `resource`, `kpi`,
            `messages`, `pipeline`.
        urgency: Its severity where that is not the row's.
        expr: Has a result while it fires; the summary shows its value.
        for_: How long the expression must have a result before the alert fires.
        keep_firing_for: How long it must have no result before the alert ends.
        summary: One sentence with value and unit.
        dashboard: Uid, and the variables behind it.
        meaning: For the runbook, the same for all alerts of one name.
        limit: The threshold as a person reads it, for the runbook.
        look: PromQL that shows what it is about, the same for all alerts of one name.
        command: Shows the same without any server.
        labels: Labels that the expression's answer carries besides, for tests.
        firing: A case in which it fires.
        silent: One next to it in which it does not.
    """

    name: str
    row: Row
    kind: str
    symptom: str
    urgency: Severity | None = None
    expr: str
    for_: str = ""
    keep_firing_for: str = ""
    summary: str
    dashboard: str
    meaning: str
    limit: str
    look: str
    command: str = "orchwatch current"
    labels: Mapping[str, str] = field(default_factory=dict)
    firing: Case
    silent: Case

    @property
    def target(self) -> str:
        """The row's id; empty where there is no row."""
        return self.row.id

    @property
    def severity(self) -> Severity:
        """How much it matters."""
        return self.urgency or self.row.severity

    @property
    def recommendation(self) -> str:
        """What to do."""
        return self.row.recommendation

    def own_labels(self) -> dict[str, str]:
        """The labels that the rule sets."""
        labels = {"severity": self.severity, "kind": self.kind, "symptom": self.symptom}
        return {**labels, "target": self.target} if self.target else labels

    def data(self, settings: Settings) -> dict[str, Any]:
        """As the rule file has it."""
        found: dict[str, Any] = {"alert": self.name, "expr": self.expr}
        if self.for_:
            found["for"] = self.for_
        if self.keep_firing_for:
            found["keep_firing_for"] = self.keep_firing_for
        annotations = {
            "summary": self.summary,
            # For programs: the summary has it rounded.
            "value": "{{ $value }}",
            "recommendation": self.recommendation,
            "runbook_url": f"{settings.runbook}#{self.name.lower()}",
            "dashboard_url": f"{settings.grafana}/d/{self.dashboard}",
        }
        return {**found, "labels": self.own_labels(), "annotations": annotations}


def group(name: str, rules: Iterable[dict[str, Any]], interval: str = "") -> dict[str, Any]:
    """A group of rules, evaluated one after the other."""
    head: dict[str, Any] = {"name": f"orchwatch-{name}"}
    if interval:
        head["interval"] = interval
    return {**head, "rules": list(rules)}
