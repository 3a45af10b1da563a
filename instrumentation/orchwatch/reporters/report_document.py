"""A report as Markdown for a pull request, and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from orchwatch.analysis import status
from orchwatch.recording.safe_text import safe
from orchwatch.reporters import (
    baseline_comparison,
    document,
    forecast_list,
    json_document,
    report_sections,
)
from orchwatch.reporters.baseline_comparison import escaped

if TYPE_CHECKING:
    from orchwatch.analysis.report import Report, Slow

_NS = 1_000_000_000
_MARKS = {"ok": "✅ ok", "warn": "⚠️ warn", "miss": "❌ miss"}


def render_markdown(report: Report, title: str, file: TextIO) -> None:
    """Writes it; what has no row is a sentence."""
    taken = report.status.snapshot
    since = f"{taken.since:%Y-%m-%d %H:%M}" if taken.since else "the beginning"
    file.write(f"## {escaped(safe(title, report_sections.NAME_COLUMNS))}\n\n")
    file.write(f"From {since} to {taken.as_of:%Y-%m-%d %H:%M} UTC. ")
    file.write(f"**{escaped(report_sections.headline(report))}**\n")
    for section in report_sections.of(report):
        file.write(f"\n### {section.title}\n\n")
        if section.heads:
            file.write(f"| {' | '.join(section.heads)} |\n|{' --- |' * len(section.heads)}\n")
            for cells, _ in section.rows:
                told = [_MARKS.get(cell, escaped(cell)) for cell in cells]
                file.write(f"| {' | '.join(told)} |\n")
            file.write("\n")
        file.writelines(f"{escaped(note)}\n" for note in section.notes)


def render_json(report: Report, file: TextIO) -> None:
    """Writes one JSON object; null where nothing is known."""
    found = report.status
    figures = document.as_dict(found.snapshot)
    kept = ("as_of", "since", "operations", "levels")
    told: dict[str, Any] = {
        **{key: figures[key] for key in kept},
        "health": {"score": found.health.score, "status": found.health.status},
        "alerts": [asdict(alert) for alert in found.alerts],
        "kpis": status.kpi_values(found.system, found.business),
        "history": [
            {
                "operation": name,
                "start": json_document.moment(start_ns),
                "count": one.count,
                "errors": one.errors,
                "p95_s": one.p95_s,
            }
            for name, steps in report.history.items()
            for start_ns, one in steps
        ],
        "changes": [
            baseline_comparison.as_json(change)
            for change in (report.compared.changes if report.compared else ())
        ],
        "not_compared": report.not_compared,
        "slowest": list(map(_slow, report.slowest)),
        "hooks": [asdict(hook) for hook in report.hooks.hooks],
        "forecasts": list(map(forecast_list.as_dict, report.forecasts)),
        "not_forecast": report.not_forecast,
    }
    json_document.answer("report", told, file)


def _slow(one: Slow) -> dict[str, Any]:
    return {
        "trace_id": one.trace.trace_id,
        "started": json_document.moment(one.trace.start_ns),
        "duration_s": (one.trace.end_ns - one.trace.start_ns) / _NS,
        "operations": one.trace.operations,
        "errors": one.trace.errors,
        "name": one.name,
        "waited_for": [
            {"name": entry.name, "agent": entry.agent, "share": entry.share}
            for entry in one.path.entries
        ],
    }
