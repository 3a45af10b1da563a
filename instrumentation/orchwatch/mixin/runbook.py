"""The runbook's entries: one for each alert's name, headed by it, which is what alerts link to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchwatch.mixin import alerting, alerts

if TYPE_CHECKING:
    from orchwatch.mixin.rule import Alert
    from orchwatch.targets import Targets

_AMTOOL = "docker compose exec alertmanager amtool --alertmanager.url=http://127.0.0.1:9093"


def entries(table: Targets) -> list[str]:
    """The page's lines, one entry after the other."""
    settings = alerting.load()
    by_name: dict[str, list[Alert]] = {}
    for alert in alerts.every(table, settings):
        by_name.setdefault(alert.name, []).append(alert)
    lines = []
    for same in by_name.values():
        lines += ["", *_entry(same, settings.grafana)]
    return [*lines, ""]


def _entry(same: list[Alert], grafana: str) -> list[str]:
    first = same[0]
    page = f"{grafana}/d/{first.dashboard.partition('?')[0]}"
    waits = f" It fires after {first.hold}." if first.hold else ""
    if first.keep:
        waits += f" It ends when all has been well for {first.keep}."
    target = f" target={first.target}" if first.target else ""
    return [
        f"## {first.name}",
        "",
        f"{first.meaning}{waits}",
        "",
        "| about | within limits | severity | do |",
        "| --- | --- | --- | --- |",
        *(
            f"| {_subject(alert)} | {alert.limit} | {alert.severity} | {alert.recommendation} |"
            for alert in same
        ),
        "",
        f"See it: <{page}>, or `{first.command}`, or",
        "",
        "```promql",
        first.look,
        "```",
        "",
        "Silence it:",
        "",
        "```sh",
        f"{_AMTOOL} silence add alertname={first.name}{target} --duration=2h --comment='why'",
        "```",
    ]


def _subject(alert: Alert) -> str:
    return f"{alert.title} (`{alert.target}`)" if alert.target else alert.title
