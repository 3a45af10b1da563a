"""What many processes at once, or a steady load, came to: tables in 80 columns, and JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from orchwatch import units
from orchwatch.reporters import baseline_comparison, benchmark, columns
from orchwatch.units import counted

if TYPE_CHECKING:
    from orchwatch.analysis.benchmark_load import Growth, Load, Stress

_GROWTH = ("", "early on", "at the end", "an hour of it", "grew")


def render_load(load: Load, file: TextIO, *, colour: bool) -> None:
    """Writes the figures of all processes together, and what became of their writes."""
    benchmark.render(load.run, file, colour=colour)
    operations = sum(result.iterations for result in load.run.results)
    rate = f"{load.rate:g} a second" if load.rate else "as many as they could"
    processes = "1 process" if load.processes == 1 else f"{load.processes} processes"
    said = (
        f"{processes}, ready after {units.duration(load.start_s)}; in"
        f" {units.duration(load.duration_s)}, {rate}:"
        f" {counted(operations, 'operation')}, {load.late} of them late;"
        f" {counted(load.acknowledged, 'acknowledged write')} to what all share, {load.lost} lost."
    )
    columns.sentences([said], file)


def render_stress(stress: Stress, file: TextIO, *, colour: bool) -> None:
    """Writes that, then how each operation's time changed, then what grew."""
    render_load(stress.load, file, colour=colour)
    file.write("\nThe last fifth of the time against the second:\n")
    baseline_comparison.table(stress.drift, file, colour=colour)
    file.write("\n")
    rows = [(_growth(one), "regression" if one.grew else "stable") for one in stress.growth]
    columns.table(_GROWTH, rows, file, colour=colour)
    grew = ", ".join(stress.grew) or "nothing that should not"
    columns.sentences([f"Grew: {grew}."], file)


def load_as_json(load: Load) -> dict[str, Any]:
    """As `bench run`, with what is said of the processes."""
    return {
        **load.run.as_json(),
        "concurrent": load.processes,
        "rate": load.rate,
        "start_s": round(load.start_s, 3),
        "duration_s": load.duration_s,
        "late": load.late,
        "acknowledged_writes": load.acknowledged,
        "lost_writes": load.lost,
    }


def stress_as_json(stress: Stress) -> dict[str, Any]:
    """As `bench load`, with what changed on the way."""
    return {
        **load_as_json(stress.load),
        "drift": [baseline_comparison.as_json(change) for change in stress.drift],
        "growth": [asdict(one) for one in stress.growth],
        "grew": list(stress.grew),
    }


def lost(load: Load) -> list[str]:
    """That acknowledged writes are not there, in a few words."""
    return [f"{counted(load.lost, 'acknowledged write')} lost"] if load.lost else []


def _growth(one: Growth) -> tuple[str, ...]:
    def amount(value: float) -> str:
        return (
            units.level(abs(value), one.unit) if value >= 0 else f"-{units.level(-value, one.unit)}"
        )

    return (
        one.name,
        amount(one.before),
        amount(one.after),
        amount(one.per_hour),
        "yes" if one.grew else "no",
    )
