"""What each part of the dashboard says, as styled text: no figure is made here.

Text, never markup: names come from sessions and files, and a bracket in one must stay a bracket.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rich.text import Text

from orchwatch import units
from orchwatch.analysis import project, status
from orchwatch.recording.safe_text import ljust, rjust, safe
from orchwatch.reporters import kpi_list, phase_list
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from orchwatch.analysis.at_work import Phase
    from orchwatch.analysis.health import Alert, State
    from orchwatch.analysis.history import Trend
    from orchwatch.analysis.probes import Tree
    from orchwatch.analysis.snapshot import LevelReading, OperationReading
    from orchwatch.store.slowest import SlowTrace
    from orchwatch.targets.target_table import Severity, Status
    from orchwatch.tui.looker import Look

STYLES: dict[Status | State, str] = {
    "ok": "green", "warn": "yellow", "miss": "bold red", "unknown": "dim",
    "healthy": "bold green", "degraded": "bold yellow", "critical": "bold red",
}  # fmt: skip
_SEVERITIES: dict[Severity, str] = {"critical": "bold red", "warning": "yellow", "info": "cyan"}
_TRENDS: dict[Trend | None, str] = {"up": "↑", "down": "↓", "steady": "→", None: " "}
_PHASES: dict[Phase, str] = {
    "model": "model answers", "tool": "tool", "hook": "hook", "person": "waits for a person",
    "agent": "waits for an agent", "work": "at work", "idle": "idle", "unknown": "runs",
}  # fmt: skip
_SPARKS = "▁▂▃▄▅▆▇█"
_FULL, _EMPTY = "█", "░"
_BAR = 10
_OTHERS = 100
_NAME_COLUMNS = 28
_TITLE_COLUMNS = 24
_LENGTH_COLUMNS, _SHARE_COLUMNS = 9, 5
_ID_COLUMNS = 8
_NS = 1_000_000_000
_BUSINESS = ("task.success", "task.errors", "task.throughput", *project.HIGHEST)
_OTHER_FIGURES = ("active_agents", "efficiency_ratio")

# Heads of tables; figures stand to the right, and so does what is above them.
OPERATIONS = ("component", ">count", ">errors", ">p95", ">target", "history", "status")
TRACES = ("ended", "trace", ">took", ">operations", ">errors", "session")
AGENTS = ("agent", "session", "does", ">for", ">cpu", ">memory")
SLOWEST = (">slowest", ">calls", ">errors", "ended", "agent", "session", "trace")


def heads(names: Iterable[str]) -> list[Text]:
    """The heads of a table, as one of the above names them."""
    return [
        Text(name[1:], justify="right") if name.startswith(">") else Text(name) for name in names
    ]


def clock(time_ns: int) -> str:
    """Local time, with the date where that is another day's."""
    then, today = datetime.fromtimestamp(time_ns / _NS).astimezone(), datetime.now().astimezone()
    return f"{then:%H:%M:%S}" if then.date() == today.date() else f"{then:%m-%d %H:%M}"


def header(look: Look, *, paused: bool, refreshes: int) -> Text:
    """Health, agents, when and what."""
    found = look.status
    score = units.ABSENT if found.health.score is None else f"{found.health.score:.2f}"
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{found.health.status}", STYLES[found.health.status])
    text.append(f"  health {score}")
    active = found.business.kpis.active_agents
    text.append(f"  {counted(active or 0, 'active agent')}")
    up = look.seen.monitor_s
    if look.live:
        text.append("  monitor " + ("not running" if up is None else f"up {units.duration(up)}"))
        text.append(f"  updated {clock(found.at_ns)}")
    else:
        text.append(f"  packed elsewhere, up to {clock(found.at_ns)}")
    if paused and look.live:
        text.append("  PAUSED", "bold yellow")
    text.append("\n")
    text.append(look.words or "all that was recorded", "dim")
    text.append(f"  own refreshes: {refreshes}", "dim")
    if found.alerts:
        worst = found.alerts[0]
        more = f" and {len(found.alerts) - 1} more" if len(found.alerts) > 1 else ""
        text.append(f"  {worst.severity}: {safe(worst.title)}{more}", _SEVERITIES[worst.severity])
    return text


def operation_row(look: Look, reading: OperationReading, sparks: int) -> list[Text]:
    """A row of the performance table."""
    errors = Text(str(reading.errors), justify="right")
    if reading.error_status in ("warn", "miss"):
        errors.stylize(STYLES[reading.error_status])
    trend = _TRENDS[look.trends.get(reading.id)]
    line = sparkline(look.history.p95_s.get(reading.id, ())[-sparks:])
    state = units.ABSENT if reading.target_s is None else reading.status
    return [
        Text(safe(reading.id, _NAME_COLUMNS)),
        Text(str(reading.count), justify="right"),
        errors,
        Text(units.duration(reading.p95_s), justify="right"),
        Text(units.duration(reading.target_s), justify="right"),
        Text(f"{line:>{sparks}} {trend}", "cyan"),
        Text(state, STYLES[reading.status]),
    ]


def sparkline(values: Sequence[float | None]) -> str:
    """A letter a column, as high as its share of the highest; a blank where nothing ended."""
    highest = max((value for value in values if value is not None), default=0.0)
    return "".join(
        " "
        if value is None
        else _SPARKS[min(int(value / highest * len(_SPARKS)), len(_SPARKS) - 1) if highest else 0]
        for value in values
    )


def resources(look: Look) -> Text:
    """What is used, with bars; what was not measured here is left out."""
    rows = [
        reading
        for reading in look.status.snapshot.levels
        if reading.id not in _BUSINESS and reading.value is not None
    ]
    return _lines(_level(reading, bar=True) for reading in rows)


def business(look: Look) -> Text:
    """What is achieved: levels of the table, then figures that have no target."""
    rows = [
        _level(reading, bar=False)
        for reading in look.status.snapshot.levels
        if reading.id in _BUSINESS
    ]
    values = status.kpi_values(look.status.system, look.status.business)
    for name in _OTHER_FIGURES:
        title, unit = kpi_list.FIGURES[name]
        value = units.level(values[name], unit)
        rows.append(Text(f"{ljust(title, _TITLE_COLUMNS)} {rjust(value, 12)}"))
    return _lines(rows)


def phases(look: Look) -> Text:
    """Where the time of the latest turns went, the longest first; empty where there are none."""
    spent = look.status.business.phases
    if spent is None:
        return Text()
    rows = []
    for words, length, share in phase_list.rows(spent):
        text = Text(ljust(words, _TITLE_COLUMNS))
        text.append(f" {rjust(length, _LENGTH_COLUMNS)} {rjust(share, _SHARE_COLUMNS)}")
        rows.append(text)
    rows.append(Text(f"of {counted(spent.turns, 'turn')}; orchwatch phases lists them", "dim"))
    return _lines(rows)


def alerts(look: Look) -> Text:
    """What is beyond its threshold, and what to do about it."""
    if not look.status.alerts:
        return Text("nothing is beyond its alert threshold", "green")
    return _lines(_alert(alert) for alert in look.status.alerts)


def notes(look: Look) -> Text:
    """What a person has to know of the figures; empty where nothing is to be said."""
    said = [look.note] if look.note else []
    taken = look.status.snapshot
    unreadable = sum(taken.unreadable.values())
    if unreadable:
        said.append(f"{counted(unreadable, 'unreadable line')} skipped; see orchwatch doctor")
    if taken.ahead:
        said.append(f"{counted(taken.ahead, 'operation')} dated in the future; orchwatch doctor")
    return Text("\n".join(said), "yellow")


def nothing(home: str) -> Text:
    """What to do where nothing is stored."""
    return Text(
        f'Nothing was measured yet in {safe(home)}. Put `with operation("state.query"):` around'
        " some work, take in recorded sessions with `orchwatch import`, or run"
        " `orchwatch demo`.",
        "yellow",
    )


def listed(look: Look) -> list[OperationReading]:
    """Those with a target, and of the others those that ran most often."""
    readings = look.status.snapshot.operations
    known = [reading for reading in readings if reading.target_s is not None]
    others = [reading for reading in readings if reading.target_s is None]
    others.sort(key=lambda reading: -reading.count)
    return known + others[:_OTHERS]


def agents_title(look: Look) -> str:
    """What stands above the agents: how many there are, and whether more could be known."""
    if not look.live:
        return "who was at work is not packed"
    said = counted(len(look.seen.agents), "agent") if look.seen.agents else "no agent"
    hint = "" if look.seen.monitor_s is not None else "; orchwatch monitor sees Claude Code's"
    return f"{said} at work now{hint}"


def agent_rows(look: Look) -> Iterator[list[Text]]:
    """Who is at work; then the sessions whose process is gone while others of it go on."""
    named = {one.session_id for one in look.seen.agents}
    now_ns = look.status.at_ns
    for one in look.seen.agents:
        tree = look.of_pid.get(one.pid or 0)
        if tree is None and one.agent == "main":
            tree = look.trees.get(one.session_id)
        for_s = None if one.since_ns is None else max(now_ns - one.since_ns, 0) / _NS
        does = _PHASES[one.phase] + (f" {safe(one.detail, _NAME_COLUMNS)}" if one.detail else "")
        yield [
            Text(safe(one.agent, _NAME_COLUMNS)),
            Text(safe(one.session_id, _ID_COLUMNS), "dim"),
            Text(does),
            Text(units.duration(for_s), justify="right"),
            *_takes(tree),
        ]
    for session_id, tree in sorted(look.trees.items()):
        if session_id not in named:
            is_gone = session_id in look.seen.gone
            yield [
                Text(counted(tree.processes, "program")),
                Text(safe(session_id, _ID_COLUMNS), "dim"),
                Text("session is gone" if is_gone else "runs", "yellow" if is_gone else ""),
                Text(""),
                *_takes(tree),
            ]


def trace_rows(look: Look) -> Iterator[tuple[str, list[Text]]]:
    """The latest traces, by id."""
    for group in look.traces:
        errors = Text(str(group.errors), "red" if group.errors else "", justify="right")
        yield (
            group.id,
            [
                Text(clock(group.end_ns)),
                Text(safe(group.name or group.id, _NAME_COLUMNS)),
                Text(units.duration((group.end_ns - group.start_ns) / _NS), justify="right"),
                Text(str(group.operations), justify="right"),
                errors,
                Text(safe(group.session_id or "", _ID_COLUMNS), "dim"),
            ],
        )


def slowest_row(one: SlowTrace) -> list[Text]:
    """A trace that holds slow calls."""
    return [
        Text(units.duration(one.duration_ns / _NS), justify="right"),
        Text(str(one.calls), justify="right"),
        Text(str(one.errors), "red" if one.errors else "", justify="right"),
        Text(clock(one.end_ns)),
        Text(safe(one.agent or "", _NAME_COLUMNS)),
        Text(safe(one.session_id or "", _ID_COLUMNS), "dim"),
        Text(safe(one.trace_id)[:_ID_COLUMNS], "dim"),
    ]


def _takes(tree: Tree | None) -> tuple[Text, Text]:
    if tree is None:
        return Text(units.ABSENT, justify="right"), Text(units.ABSENT, justify="right")
    return (
        Text(units.whole_share(tree.cpu), justify="right"),
        Text(units.size(tree.memory_bytes), justify="right"),
    )


def _level(reading: LevelReading, *, bar: bool) -> Text:
    text = Text(ljust(safe(reading.title, _TITLE_COLUMNS), _TITLE_COLUMNS))
    text.append(" ")
    style = STYLES[reading.status]
    if bar:
        # A share fills its bar as it is; anything else, as far as it is from its target.
        value = reading.value or 0.0
        full = value if reading.unit == "1" else value / reading.target if reading.target else 0.0
        cells = min(max(round(full * _BAR), 0), _BAR)
        text.append(_FULL * cells + _EMPTY * (_BAR - cells), style)
        text.append(" ")
    sign = "≤" if reading.direction == "below" else "≥"
    text.append(rjust(units.level(reading.value, reading.unit), 9 if bar else 12))
    text.append(f" {sign} {units.level(reading.target, reading.unit)} ", "dim")
    text.append("-" if reading.status == "unknown" else reading.status, style)
    return text


def _alert(alert: Alert) -> Text:
    text = Text(f"{alert.severity} ", _SEVERITIES[alert.severity])
    value, limit = (amount(figure, alert.unit) for figure in (alert.value, alert.threshold))
    text.append(f"{safe(alert.title)}: {value}, alert at {limit}", "")
    text.append(f"\n  {safe(alert.recommendation)}", "dim")
    return text


def amount(value: float, unit: str) -> str:
    """As a person reads it."""
    return units.duration(value) if unit == "s" else units.level(value, unit)


def _lines(rows: Iterator[Text] | Sequence[Text]) -> Text:
    return Text("\n").join(rows)
