"""The key figures, one a line, each with where it is from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TextIO

from orchwatch.monitor import project, status
from orchwatch.reporters import units

if TYPE_CHECKING:
    from orchwatch.monitor.status import Business, System

# How each figure is shown, in the order of the requirements: title, unit.
_FIGURES = {
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
_PROJECT = {
    "test_coverage": project.TEST_COVERAGE,
    "code_quality": project.CODE_QUALITY,
    "documentation_coverage": project.DOCUMENTATION_COVERAGE,
}
_SYSTEM = ("session_memory_bytes", "storage_bytes")


def render(system: System, business: Business, file: TextIO) -> None:
    """Writes a table, then what could not be read; a dash where nobody measured."""
    values = status.kpi_values(system, business)
    title_width = max(len(title) for title, _ in _FIGURES.values())
    for name, (title, unit) in _FIGURES.items():
        value = units.level(values[name], unit)
        source = f"  {_source(name, business)}" if values[name] is not None else ""
        file.write(f"{title:{title_width}}  {value:>12}{source}\n")
    file.writelines(f"note: {note}\n" for note in business.notes)


def render_json(system: System, business: Business, file: TextIO) -> None:
    """Writes one JSON object: the figures by name, null where nobody measured, and the notes."""
    json.dump(
        {"kpis": status.kpi_values(system, business), "notes": list(business.notes)},
        file,
        indent=2,
        ensure_ascii=False,
    )
    file.write("\n")


def _source(name: str, business: Business) -> str:
    if name in _PROJECT:
        return business.project[_PROJECT[name]].source
    return "measured" if name in _SYSTEM else "spans"
