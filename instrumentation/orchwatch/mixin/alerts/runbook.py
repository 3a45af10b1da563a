"""The runbook's entries: one for each alert's name, headed by it, which is what alerts link to."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from orchwatch.mixin.alerts import catalog
from orchwatch.mixin.lib import alerting, markdown, promql

if TYPE_CHECKING:
    from orchwatch.mixin.lib.alerting import Settings
    from orchwatch.mixin.lib.rule import AlertRule
    from orchwatch.targets.target_table import Targets

COLUMNS: Final = ("about", "within limits", "severity", "do")
_ALERTMANAGER = "http://127.0.0.1:9093"
_AMTOOL = f"docker compose exec alertmanager amtool --alertmanager.url={_ALERTMANAGER}"


def entries(table: Targets) -> list[str]:
    """The page's lines, one entry after the other."""
    settings = alerting.load()
    lines = []
    for same in by_name(table, settings):
        lines += ["", *_entry(same, settings.grafana)]
    return [*lines, ""]


def by_name(table: Targets, settings: Settings) -> list[list[AlertRule]]:
    """The alerts that share an entry."""
    found: dict[str, list[AlertRule]] = {}
    for alert in catalog.every(table, settings):
        found.setdefault(alert.name, []).append(alert)
    return list(found.values())


def meaning(alert: AlertRule) -> str:
    """What it means, and how long that must be so."""
    text = alert.meaning
    if alert.for_:
        text += f" It fires after {alert.for_}."
    if alert.keep_firing_for:
        text += f" It ends when all has been well for {alert.keep_firing_for}."
    return text


def rows(same: list[AlertRule], quote: str = "") -> list[tuple[str, ...]]:
    """A row for each alert of one name; `quote` stands around a target's id."""
    return [(_subject(one, quote), one.limit, one.severity, one.recommendation) for one in same]


def address(alert: AlertRule, grafana: str) -> str:
    """The page that shows it, with nothing chosen yet."""
    return f"{grafana}/d/{alert.dashboard.partition('?')[0]}"


def silence_page(alert: AlertRule) -> str:
    """Alertmanager's page that silences it, for its target alone."""
    labels = {"alertname": alert.name} | ({"target": alert.target} if alert.target else {})
    return f"{_ALERTMANAGER}/#/silences/new?filter={quote(promql.selector(**labels), safe='')}"


def silence(alert: AlertRule) -> str:
    """The command that does the same in containers."""
    target = f" {shlex.quote(f'target={alert.target}')}" if alert.target else ""
    return f"{_AMTOOL} silence add alertname={alert.name}{target} --duration=2h --comment='why'"


def _entry(same: list[AlertRule], grafana: str) -> list[str]:
    first = same[0]
    return [
        f"## {first.name}",
        "",
        meaning(first),
        "",
        *markdown.table(COLUMNS, rows(same, "`")),
        "",
        f"See it: <{address(first, grafana)}>, or `{first.command}`, or",
        "",
        "```promql",
        first.look,
        "```",
        "",
        f"Silence it: [in Alertmanager]({silence_page(first)}), or in containers",
        "",
        "```sh",
        silence(first),
        "```",
    ]


def _subject(alert: AlertRule, quote: str) -> str:
    return f"{alert.row.title} ({quote}{alert.target}{quote})" if alert.target else alert.row.title
