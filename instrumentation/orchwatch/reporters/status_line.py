"""A snapshot as one line that fits, or as the structure that the requirements give a status line.

A status line runs after each message: nothing that is slow to import may be imported here.
"""

from __future__ import annotations

from orchwatch import semconv, units
from orchwatch.recording.safe_text import safe, width

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # The forms of a part, the longest first.
    Forms = tuple[str, ...]
    Figures = dict[str, Any]

NO_DATA = "no data yet: start orchwatch monitor"

_INDICATORS = {"healthy": "🟢", "degraded": "🟡", "critical": "🔴", "unknown": "❓"}
_ALERT = "🔥"
_COLOURS = {
    "healthy": "32", "degraded": "33", "critical": "31", "unknown": "2",
    "ok": "32", "warn": "33", "miss": "31", "warning": "33", "info": "36",
}  # fmt: skip
_SEPARATOR = " · "
# Of a name; a line is no longer than a few of them.
_NAME_COLUMNS = 60
# Where each part stands in the line; `line` says which of them matter most.
_ORDER = ("health", "age", "worst", "agents", "errors", "machine", "session", "alert")

# Two missed turns: one may be late on a busy machine.
_STALE_INTERVALS = 2
_STALE_SLACK_S = 5
_AGES = ((86_400, "d"), (3600, "h"), (60, "min"))


def line(
    snapshot: Figures, *, columns: int, colour: bool, age: str | None, session_id: str | None
) -> str:
    """Health, age, the worst operation, agents, errors, machine, session and alert, as fits.

    Args:
        snapshot: As `snapshot_file.read` returns it.
        columns: How wide the line may be; what does not fit is left out whole.
        colour: Whether to colour what has a status.
        age: How old the figures are, see `age`; None where they are fresh.
        session_id: The session whose memory is shown.

    Raises:
        LookupError, TypeError, AttributeError, ValueError: The snapshot is not as it should be.
    """
    worst, worst_longer, worst_status = _worst(snapshot["operations"])
    alert, alert_longer, severity = _alert(snapshot["alerts"])
    errors, errors_status = _errors(snapshot["operations"])
    parts = {
        "health": _health(snapshot),
        # What is old must not pass for new.
        "age": (age,) if age else (),
        "alert": alert,
        "worst": worst,
        "agents": _agents(snapshot["kpis"]["active_agents"]),
        "errors": errors,
        "machine": _machine(snapshot["levels"]),
        "session": _session(snapshot["sessions"], session_id),
    }
    statuses = {
        "health": snapshot["health"]["status"],
        "age": "warn",
        "worst": worst_status,
        "errors": errors_status,
        "alert": severity,
    }
    chosen = _fit(parts, {"worst": worst_longer, "alert": alert_longer}, columns)
    texts = []
    for name in _ORDER:
        if name in chosen:
            code = _COLOURS.get(statuses.get(name, ""))
            texts.append(f"\x1b[{code}m{chosen[name]}\x1b[0m" if colour and code else chosen[name])
    return _SEPARATOR.join(texts)


def without_figures(message: str, columns: int) -> str:
    """The line where there is nothing to show but a reason."""
    forms = (f"{_INDICATORS['unknown']} {message}", _INDICATORS["unknown"])
    return _fit({"health": forms}, {}, columns).get("health", "")


def age(snapshot: Figures, now_ns: int, *, running: bool) -> str | None:
    """How old the figures are, e.g. `12 min old`; None where the monitor keeps them fresh.

    Args:
        snapshot: The figures.
        now_ns: The time, in Unix nanoseconds.
        running: Whether the process that wrote them still runs, as far as is known.
    """
    age_s = max(0, now_ns - snapshot["written_at_ns"]) // 1_000_000_000
    if running and age_s <= _STALE_INTERVALS * snapshot["interval_s"] + _STALE_SLACK_S:
        return None
    for length_s, unit in _AGES:
        if age_s >= length_s:
            return f"{age_s // length_s} {unit} old"
    return f"{age_s} s old"


def structure(snapshot: Figures, age_s: float) -> Figures:
    """Health, performance, resources and business; null where nothing was measured.

    Source: requirements, get_orchestration_status(). Its texts are kept, with the unit that suits.
    """
    operations, levels, kpis = snapshot["operations"], snapshot["levels"], snapshot["kpis"]
    status = snapshot["health"]["status"]
    quality, tasks = kpis["code_quality"], kpis["tasks_per_hour"]
    return {
        "health": {
            "indicator": _INDICATORS[status],
            "score": snapshot["health"]["score"],
            "status": status,
        },
        "performance": {
            "session_init": _milliseconds(operations.get(semconv.SESSION_INIT)),
            "state_query": _milliseconds(operations.get(semconv.STATE_QUERY)),
            "agents": kpis["active_agents"],
        },
        "resources": {
            "cpu": _percent(levels["cpu.utilization"]["value"]),
            "memory": _percent(levels["memory.utilization"]["value"]),
            "efficiency": _percent(kpis["efficiency_ratio"]),
        },
        "business": {
            "success_rate": _percent(levels["task.success"]["value"]),
            "tasks_per_hour": None if tasks is None else f"{tasks:.0f}",
            "quality": None if quality is None else f"{quality:.1f}",
        },
        "alerts": snapshot["alerts"],
        "age_s": round(age_s, 3),
    }


def empty_structure(reason: str) -> Figures:
    """The structure where there is no snapshot."""
    return {
        "health": {
            "indicator": _INDICATORS["unknown"],
            "score": None,
            "status": "unknown",
            "error": reason,
        },
        "performance": {"session_init": None, "state_query": None, "agents": None},
        "resources": {"cpu": None, "memory": None, "efficiency": None},
        "business": {"success_rate": None, "tasks_per_hour": None, "quality": None},
        "alerts": [],
        "age_s": None,
    }


def _fit(parts: dict[str, Forms], longer: dict[str, Forms], columns: int) -> dict[str, str]:
    """The parts that fit, those named first before the others; what is left goes to longer forms.

    Args:
        parts: In the order of their importance.
        longer: Forms that say more, which no other part is left out for.
        columns: The room.
    """
    chosen: dict[str, str] = {}
    room = columns
    for name, forms in parts.items():
        separator = len(_SEPARATOR) if chosen else 0
        for form in forms:
            if width(form) + separator <= room:
                chosen[name] = form
                room -= width(form) + separator
                break
    for name, forms in longer.items():
        if name in chosen:
            room += width(chosen[name])
            chosen[name] = next((form for form in forms if width(form) <= room), chosen[name])
            room -= width(chosen[name])
    return chosen


def _health(snapshot: Figures) -> Forms:
    score = snapshot["health"]["score"]
    indicator = _INDICATORS[snapshot["health"]["status"]]
    return (indicator if score is None else f"{indicator} {score:.2f}", indicator)


def _worst(operations: Figures) -> tuple[Forms, Forms, str]:
    measured = [
        (row["p95_s"] / row["target_s"], name)
        for name, row in operations.items()
        if row["p95_s"] is not None and row["target_s"]
    ]
    if not measured:
        return (), (), ""
    name = max(measured)[1]
    row = operations[name]
    short = f"{safe(name, _NAME_COLUMNS)} {units.duration(row['p95_s'])}"
    return (short,), (f"{short}/{units.duration(row['target_s'])}",), row["status"]


def _agents(active: int | None) -> Forms:
    return () if active is None else (f"{active} {'agent' if active == 1 else 'agents'}",)


def _errors(operations: Figures) -> tuple[Forms, str]:
    if not any(row["count"] for row in operations.values()):
        return (), ""
    errors = sum(row["errors"] for row in operations.values())
    return (f"{errors} {'error' if errors == 1 else 'errors'}",), "miss" if errors else ""


def _machine(levels: Figures) -> Forms:
    cpu, memory = levels["cpu.utilization"]["value"], levels["memory.utilization"]["value"]
    shown = [
        f"{name} {_percent(value)}"
        for name, value in (("cpu", cpu), ("mem", memory))
        if value is not None
    ]
    return (" ".join(shown),) if shown else ()


def _session(sessions: Figures, session_id: str | None) -> Forms:
    memory_bytes = sessions.get(session_id or "", {}).get("memory_bytes")
    return () if memory_bytes is None else (f"session {units.size(memory_bytes)}",)


def _alert(alerts: list[Figures]) -> tuple[Forms, Forms, str]:
    if not alerts:
        return (), (), ""
    first = alerts[0]
    sign = "<" if first["value"] < first["threshold"] else ">"
    short = (
        f"{_ALERT} {safe(first['title'], _NAME_COLUMNS)} {_value(first['value'], first['unit'])}"
    )
    more = f" +{len(alerts) - 1}" if len(alerts) > 1 else ""
    long = f"{short} {sign} {_value(first['threshold'], first['unit'])}{more}"
    return (
        (f"{short}{more}", short, _ALERT),
        (f"{long}: {safe(first['recommendation'])}", long),
        first["severity"],
    )


def _value(value: float, unit: str) -> str:
    return units.duration(value) if unit == "s" else units.level(value, unit)


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value * 100:.0f}%"


def _milliseconds(row: Figures | None) -> str | None:
    if row is None or row["p95_s"] is None:
        return None
    milliseconds = row["p95_s"] * 1000
    # What is faster than a millisecond is not nothing.
    return f"{milliseconds:.0f}ms" if milliseconds >= 1 else f"{milliseconds:.1g}ms"
