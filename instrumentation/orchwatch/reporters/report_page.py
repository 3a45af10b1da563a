"""A report as one page that needs no network: light, dark, on a phone, by keyboard, on paper.

Its graph, its policy and its rules for foreign text are those of `flame_page`.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from orchwatch import units
from orchwatch.recording.safe_text import safe
from orchwatch.reporters import charts, flame_page, flame_table, report_sections
from orchwatch.reporters.forecast_list import shown
from orchwatch.reporters.report_sections import NAME_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchwatch.analysis.report import Report
    from orchwatch.reporters.report_sections import Section

_TEXTS = frozenset(
    ("operation", "level", "figure", "what", "what to do", "name", "waited for", "hook", "trace")
)
_LONG = frozenset(("what to do", "waited for"))
_LOOKS = {"healthy": "ok", "degraded": "warn", "critical": "miss", "unknown": "unknown"}
_VERDICTS = ("status", "verdict", "severity", "crosses")
_MAX_CHARTS = 24
_MIN_STEPS = 2


def page(report: Report, title: str) -> str:
    """The whole document, in ASCII."""
    style = flame_page.part("flame_page.css") + flame_page.part("report_page.css")
    found = report_sections.of(report)
    flame = report.flame
    script = flame_page.part("flame_page.js") if flame else ""
    blocks = [(one.id, one.title, _section(one, _figures(one.id, report))) for one in found]
    if flame:
        told = html.escape(safe(flame_table.summary(flame), 300))
        text = f'<section id="flame"><h2>Where the time went</h2><p class="notes">{told}</p>'
        blocks.insert(5, ("flame", "Flame graph", f"{text}{flame_page.graph(flame)}</section>"))
    parts = {
        "POLICY": flame_page.policy(style, script),
        "TITLE": html.escape(safe(title, NAME_COLUMNS)),
        "WINDOW": html.escape(_window(report)),
        "LOOK": "is-" + _LOOKS[report.status.health.status],
        "HEADLINE": html.escape(report_sections.headline(report)),
        "LINKS": "".join(f'<li><a href="#{name}">{head}</a></li>' for name, head, _ in blocks),
        "SECTIONS": "\n".join(text for _, _, text in blocks),
        "STYLE": style,
        "SCRIPT": script,
    }
    return flame_page.filled("report_page.html", parts)


def _window(report: Report) -> str:
    taken = report.status.snapshot
    since = f"{taken.since:%Y-%m-%d %H:%M}" if taken.since else "the beginning"
    words = f" ({safe(report.words, 200)})" if report.words else ""
    return f"From {since} to {taken.as_of:%Y-%m-%d %H:%M} UTC{words}."


def _section(one: Section, figures: str) -> str:
    table = ""
    if one.heads:
        looks = [' class="text"' if _look(head) else "" for head in one.heads]
        head = "".join(
            f'<th scope="col"{look}>{html.escape(name)}</th>'
            for name, look in zip(one.heads, looks, strict=True)
        )
        rows = "\n".join(_row(one.heads, cells, verdict) for cells, verdict in one.rows)
        table = (
            f'<div class="scroll" tabindex="0" role="region" aria-label="{one.title}"><table>'
            f"<thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>"
        )
    notes = "".join(f'<p class="notes">{html.escape(note)}</p>' for note in one.notes)
    return f'<section id="{one.id}"><h2>{one.title}</h2>{table}{notes}{figures}</section>'


def _row(heads: tuple[str, ...], cells: tuple[str, ...], verdict: str) -> str:
    found = []
    for head, cell in zip(heads, cells, strict=True):
        look = "verdict" if head in _VERDICTS and verdict else _look(head)
        found.append(
            f"<td{f' class={chr(34)}{look}{chr(34)}' if look else ''}>{html.escape(cell)}</td>"
        )
    return (
        f'<tr class="is-{verdict}">{"".join(found)}</tr>'
        if verdict
        else f"<tr>{''.join(found)}</tr>"
    )


def _look(head: str) -> str:
    if head in _LONG:
        return "text long"
    return "text" if head in _TEXTS else ""


def _figures(name: str, report: Report) -> str:
    if name == "operations":
        drawn = list(_history(report))
        key = (
            f"95th percentile, a point {units.every(report.step_ns / 1e9)}; dashed: the target."
            " Times are UTC."
        )
    elif name == "forecasts":
        drawn = list(_forecasts(report))
        key = (
            "Dashed line: what is expected; bands: 80 % and 95 % intervals; red: the target."
            " Times are UTC."
        )
    else:
        return ""
    if not drawn:
        return ""
    figures = "\n".join(drawn[:_MAX_CHARTS])
    return f'<p class="key">{key}</p><div class="charts">{figures}</div>'


def _history(report: Report) -> Iterator[str]:
    readings = {one.id: one for one in report.status.snapshot.operations}
    starts = {start_ns for steps in report.history.values() for start_ns, _ in steps}
    if len(starts) < _MIN_STEPS:
        return  # a point says no more than its row of the table
    reach = min(starts), max(starts)
    ordered = sorted(
        (name for name in report.history if name in readings),
        key=lambda name: (readings[name].target_s is None, -readings[name].count, name),
    )
    for name in ordered:
        one = readings[name]
        past = [(start_ns, summary.p95_s) for start_ns, summary in report.history[name]]
        values = [value for _, value in past]
        words = _between(units.duration(min(values)), units.duration(max(values)))
        if one.target_s is not None:
            words += f", target {units.duration(one.target_s)}"
        gap = 3 * report.step_ns
        drawn = charts.line(past, words, target=one.target_s, gap=gap, reach=reach)
        yield _figure(one.title, drawn, words, reach)


def _forecasts(report: Report) -> Iterator[str]:
    for one in report.forecasts:
        if one.points:
            last = one.points[-1]
            words = (
                f"now {shown(one.past[-1][1], one.unit)}, then {shown(last.middle, one.unit)}"
                f" ({shown(last.low_95, one.unit)} to {shown(last.high_95, one.unit)})"
            )
            gap = int(3 * one.step_s * 1e9)
            reach = one.past[0][0], last.at_ns
            drawn = charts.line(
                one.past, words, target=one.target, points=one.points, gap=gap, reach=reach
            )
            yield _figure(one.title, drawn, words, reach)


def _between(lowest: str, highest: str) -> str:
    return lowest if lowest == highest else f"{lowest} to {highest}"


def _figure(title: str, drawn: str, words: str, reach: tuple[int, int]) -> str:
    name = html.escape(safe(title, NAME_COLUMNS))
    first, last = map(report_sections.moment, reach)
    if first[:10] == last[:10]:
        last = last[11:]
    axis = f'<p class="time"><span>{first}</span><span>{last}</span></p>'
    return f"<figure><h3>{name}</h3>{drawn}{axis}<p>{html.escape(words)}</p></figure>"
