"""A report as sections of text and tables, the same on a page and in a pull request."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchwatch import units
from orchwatch.analysis import status
from orchwatch.recording.safe_text import safe
from orchwatch.reporters import baseline_comparison, forecast_list, hook_list, kpi_list
from orchwatch.reporters.critical_path_report import what

if TYPE_CHECKING:
    from orchwatch.analysis.report import Report, Slow

NAME_COLUMNS = 80
_NS = 1_000_000_000
_SIDES = {"below": "at most", "above": "at least"}
_MAX_ENTRIES = 3
_MAX_HOOKS = 20
_MAX_OPERATIONS = 50


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a report; all of its texts are safe to show, and no markup.

    Attributes:
        id: To link to.
        title: Its heading.
        heads: Of the table's columns; none without a table.
        rows: Cells, and the verdict that the row is marked by; empty without one.
        notes: Sentences below.
    """

    id: str
    title: str
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[tuple[str, ...], str], ...] = ()
    notes: tuple[str, ...] = ()


def of(report: Report) -> list[Section]:
    """All of them, in the order in which a person asks."""
    return [
        _alerts(report),
        _operations(report),
        _levels(report),
        _changes(report),
        _slowest(report),
        _hooks(report),
        _kpis(report),
        _forecasts(report),
    ]


def headline(report: Report) -> str:
    """How things are, in a sentence."""
    found = report.status
    taken = found.snapshot
    missed = [safe(one.title, NAME_COLUMNS) for one in taken.operations if one.status == "miss"]
    missed += [safe(one.title, NAME_COLUMNS) for one in taken.levels if one.status == "miss"]
    score = "" if found.health.score is None else f" ({found.health.score:.2f} of 1)"
    what = f"Missed: {', '.join(missed)}." if missed else "No target is missed."
    if not any(one.count for one in taken.operations):
        return f"No operation ended. {what if missed else 'Nothing can be said of the targets.'}"
    return f"{found.health.status.capitalize()}{score}. {what}"


def moment(time_ns: int) -> str:
    """In UTC, to the minute."""
    return f"{datetime.fromtimestamp(time_ns / _NS, UTC):%Y-%m-%d %H:%M}"


def _alerts(report: Report) -> Section:
    rows = tuple(
        (
            (
                alert.severity,
                safe(alert.title, NAME_COLUMNS),
                forecast_list.shown(alert.value, alert.unit),
                forecast_list.shown(alert.threshold, alert.unit),
                safe(alert.recommendation, 2 * NAME_COLUMNS),
            ),
            "miss" if alert.severity == "critical" else "warn",
        )
        for alert in report.status.alerts
    )
    heads = ("severity", "what", "is", "limit", "what to do")
    return Section(
        id="alerts",
        title="Alerts",
        heads=heads if rows else (),
        rows=rows,
        notes=() if rows else ("None.",),
    )


def _operations(report: Report) -> Section:
    readings = [one for one in report.status.snapshot.operations if one.count or one.target_s]
    readings.sort(key=lambda one: (one.target_s is None, -one.count if not one.target_s else 0))
    shown = readings[:_MAX_OPERATIONS]
    rows = tuple(
        (
            (
                safe(one.title, NAME_COLUMNS),
                one.status if one.target_s else units.ABSENT,
                str(one.count),
                units.share(one.errors / one.count if one.count else None),
                units.duration(one.p50_s),
                units.duration(one.p95_s),
                units.duration(one.p99_s),
                units.duration(one.target_s),
                units.share(one.under_target),
            ),
            one.status,
        )
        for one in shown
    )
    notes = ["The 95th percentile is held against the target; within: share that took at most it."]
    if len(readings) > len(shown):
        notes.append(f"{len(readings) - len(shown)} more without a target are left out.")
    unreadable = sum(report.status.snapshot.unreadable.values())
    if unreadable:
        notes.append(f"{units.counted(unreadable, 'line')} could not be read and are left out.")
    heads = ("operation", "status", "count", "failed", "p50", "p95", "p99", "target", "within")
    return Section(id="operations", title="Operations", heads=heads, rows=rows, notes=tuple(notes))


def _levels(report: Report) -> Section:
    rows = tuple(
        (
            (
                safe(one.title, NAME_COLUMNS),
                one.status,
                units.level(one.value, one.unit),
                f"{_SIDES[one.direction]} {units.level(one.target, one.unit)}",
                units.ABSENT if one.sample is None else one.sample.words,
            ),
            one.status,
        )
        for one in report.status.snapshot.levels
    )
    return Section(
        id="levels",
        title="Levels",
        heads=("level", "status", "value", "target", "of"),
        rows=rows,
    )


def _changes(report: Report) -> Section:
    compared = report.compared
    if compared is None:
        return Section(
            id="changes", title="What changed", notes=(safe(report.not_compared or "", 300),)
        )
    verdicts = {"regression": "miss", "improvement": "ok", "significant_improvement": "ok"}
    rows = tuple(
        (
            (*baseline_comparison.cells(one), baseline_comparison.WORDS[one.verdict]),
            verdicts.get(one.verdict, "unknown"),
        )
        for one in compared.changes[:_MAX_OPERATIONS]
    )
    said = f"Before: {safe(compared.before, 200)}. After: {safe(compared.after, 200)}."
    meaning = (
        "A change counts where its 99 % interval, widened by the machine's own noise, leaves out 0;"
        " stable is noise."
    )
    few = [note for note in baseline_comparison.notes(compared) if ": too few" not in note]
    return Section(
        id="changes",
        title="What changed",
        heads=baseline_comparison.HEADS,
        rows=rows,
        notes=(said, meaning, *few),
    )


def _slowest(report: Report) -> Section:
    rows = tuple((_slow(one), "") for one in report.slowest)
    notes = ("Waited for: the most of its critical path. orchwatch trace ID shows one.",)
    heads = ("trace", "began (UTC)", "took", "ops", "failed", "name", "waited for")
    return Section(
        id="slowest",
        title="Slowest traces",
        heads=heads if rows else (),
        rows=rows,
        notes=notes if rows else ("None.",),
    )


def _slow(one: Slow) -> tuple[str, ...]:
    trace = one.trace
    waits = [
        f"{what(entry.kind, entry.name, entry.agent)} {units.whole_share(entry.share)}"
        for entry in one.path.entries[:_MAX_ENTRIES]
    ]
    return (
        trace.trace_id[:8],
        moment(trace.start_ns),
        units.duration((trace.end_ns - trace.start_ns) / _NS),
        str(trace.operations),
        str(trace.errors),
        safe(one.name, NAME_COLUMNS),
        ", ".join(waits) or units.ABSENT,
    )


def _hooks(report: Report) -> Section:
    shown = report.hooks.hooks[:_MAX_HOOKS]
    if not shown:
        return Section(id="hooks", title="Hooks", notes=("None ran.",))
    rows = tuple((hook_list.row(hook), "") for hook in shown)
    return Section(
        id="hooks", title="Hooks", heads=hook_list.HEADS, rows=rows, notes=(hook_list.NOTE,)
    )


def _kpis(report: Report) -> Section:
    values = status.kpi_values(report.status.system, report.status.business)
    rows = tuple(
        ((title, units.level(values[name], unit)), "")
        for name, (title, unit) in kpi_list.FIGURES.items()
    )
    notes = tuple(safe(note, 2 * NAME_COLUMNS) for note in report.status.business.notes)
    return Section(
        id="kpis", title="Key figures", heads=("figure", "value"), rows=rows, notes=notes
    )


def _forecasts(report: Report) -> Section:
    if report.not_forecast:
        return Section(id="forecasts", title="Forecasts", notes=(safe(report.not_forecast, 300),))
    known = [one for one in report.forecasts if one.points]
    rows = tuple(
        (forecast_list.row(one), "miss" if one.crosses_ns is not None or one.beyond else "")
        for one in known
    )
    few = [one for one in report.forecasts if one.why]
    notes = [forecast_list.meaning(known)] if known else []
    if few:
        names = ", ".join(safe(one.title, NAME_COLUMNS) for one in few[:10])
        more = f" and {len(few) - 10} more" if len(few) > 10 else ""  # noqa: PLR2004 - as above
        notes.append(f"Not enough data: {names}{more}.")
    return Section(
        id="forecasts",
        title="Forecasts",
        heads=forecast_list.HEADS if rows else (),
        rows=rows,
        notes=tuple(notes or ["Not enough data."]),
    )
