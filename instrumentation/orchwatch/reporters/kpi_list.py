"""The key figures, one a line, each with what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from orchwatch import units
from orchwatch.analysis import project, status
from orchwatch.recording.safe_text import safe, width
from orchwatch.reporters import columns, json_document, phase_list
from orchwatch.units import counted

if TYPE_CHECKING:
    from orchwatch.analysis.status import Business, System

FIGURES = {
    "active_agents": ("Active agents", "{agent}"),
    "tasks_per_hour": ("Tasks completed per hour", "{task}/h"),
    "success_ratio": ("Tasks that succeeded", "1"),
    "error_ratio": ("Tasks that failed", "1"),
    "agent_utilization": ("Agent utilization", "1"),
    "parallel_ratio": ("Parallel execution", "1"),
    "efficiency_ratio": ("Efficiency", "1"),
    "test_coverage": ("Test coverage", "1"),
    "code_quality": ("Code quality", "{point}"),
    "documentation_coverage": ("Documentation coverage", "1"),
    "session_memory_bytes": ("Memory of the largest session", "By"),
    "storage_bytes": ("Storage", "By"),
}
"""How each figure is shown, in the order of the requirements: title, unit."""

_PROJECT = {
    "test_coverage": project.TEST_COVERAGE,
    "code_quality": project.CODE_QUALITY,
    "documentation_coverage": project.DOCUMENTATION_COVERAGE,
}
_MEANINGS = {
    "active_agents": "busy within the last minute",
    "efficiency_ratio": "work that succeeded",
    "session_memory_bytes": "its processes now",
    "storage_bytes": "spool, store and sessions now",
}
# Shares of countable things say of how many, for a reader to judge one of few.
_TASKS = ("success_ratio", "error_ratio")
_AGENTS = ("agent_utilization", "parallel_ratio")


def render(
    system: System, business: Business, covered: str, file: TextIO, terminal: int = columns.WIDTH
) -> None:
    """Writes a table, then what it covers; a dash where nothing was measured.

    Args:
        system: What is used.
        business: What is achieved.
        covered: A sentence about what it covers.
        file: Where to write.
        terminal: How many columns it has.
    """
    room = min(terminal, columns.WIDTH)
    values = status.kpi_values(system, business)
    shares = phase_list.shares(business.phases) if business.phases else []
    titles = [*(title for title, _ in FIGURES.values()), *(title for title, _ in shares)]
    title_width = max(map(len, titles))
    rows = []
    for name, (title, unit) in FIGURES.items():
        value = units.level(values[name], unit)
        note = _note(name, business) if values[name] is not None else ""
        rows.append((title, value, note))
    turns = counted(business.phases.turns if business.phases else 0, "turn")
    rows += [(title, share, f"of {turns}") for title, share in shares]
    for title, value, note in rows:
        line = f"{title:{title_width}}  {value:>12}  {note}".rstrip()
        if width(line) <= room:
            file.write(f"{line}\n")
        else:
            columns.stacked(("", "", ""), [(title, value, note)], room, file)
    file.write("\n")
    said = [covered]
    if not all(name in business.project for name in _PROJECT.values()):
        said.append("Set what only you can measure: orchwatch kpi set test.coverage 83%")
    columns.sentences(said, file, room)
    file.writelines(f"note: {safe(note)}\n" for note in business.notes)


def render_json(system: System, business: Business, file: TextIO) -> None:
    """Writes one JSON object: the figures by name, null where not measured, and the notes."""
    document = {
        "kpis": status.kpi_values(system, business),
        "phases": None if business.phases is None else phase_list.figures(business.phases),
        "notes": list(business.notes),
    }
    json_document.answer("kpi list", document, file)


def _note(name: str, business: Business) -> str:
    if name in _PROJECT:
        return business.project[_PROJECT[name]].source
    computed = business.kpis
    if name in _TASKS and computed.tasks:
        return f"of {counted(computed.tasks, 'task')}"
    if name in _AGENTS and computed.agents:
        return f"of {counted(computed.agents, 'agent')}"
    return _MEANINGS.get(name, "")
