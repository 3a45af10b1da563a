"""Since which commit an operation takes longer or less."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from orchwatch import units
from orchwatch.analysis.change_points import MIN_RUNS
from orchwatch.recording.safe_text import safe
from orchwatch.reporters import columns
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchwatch.analysis.change_points import ChangePoint, Series

_HEADS = ("operation", "runs", "first", "latest", "change points")
_COMMIT_DIGITS = 12


def render(series: Sequence[Series], elsewhere: int, unreadable: int, file: TextIO) -> None:
    """Writes a line for each operation, then a sentence for each change point.

    Args:
        series: One for each operation.
        elsewhere: How many runs are from other machines, and left out.
        unreadable: How many lines of the kept runs cannot be read.
        file: Where to.
    """
    rows = [(_row(one), "") for one in series]
    columns.table(_HEADS, rows, file, colour=False)
    file.write("\n")
    columns.sentences(_sentences(series, elsewhere, unreadable), file)


def document(series: Sequence[Series], elsewhere: int) -> dict[str, Any]:
    """All of it for JSON."""
    return {"operations": [asdict(one) for one in series], "elsewhere": elsewhere}


def _row(one: Series) -> tuple[str, ...]:
    return (
        safe(one.operation),
        str(len(one.medians_s)),
        units.duration(one.medians_s[0]),
        units.duration(one.medians_s[-1]),
        str(len(one.change_points)) if len(one.medians_s) >= MIN_RUNS else "too few runs",
    )


def _sentences(series: Sequence[Series], elsewhere: int, unreadable: int) -> Iterator[str]:
    for one in series:
        for point in one.change_points:
            yield f"{safe(one.operation)}: {_point(point)}"
    if any(len(one.medians_s) < MIN_RUNS for one in series):
        yield f"A change point needs {MIN_RUNS} runs."
    elif not any(one.change_points for one in series):
        yield "No change point: each operation has kept its level."
    if elsewhere:
        yield f"Left out: {counted(elsewhere, 'run')} on another machine or another Python."
    if unreadable:
        yield f"Skipped: {counted(unreadable, 'unreadable line')}."


def _point(point: ChangePoint) -> str:
    where = _commit(point.commit)
    if point.previous and point.previous != point.commit:
        where += f" (before it {_commit(point.previous)})"
    return (
        f"{point.change:+.0%} since {where}, {safe(point.at)}: {units.duration(point.before_s)} to"
        f" {units.duration(point.after_s)}."
    )


def _commit(commit: str | None) -> str:
    if commit is None:
        return "a run without a commit"
    changed = " with changes" if commit.endswith("-dirty") else ""
    return f"commit {safe(commit[:_COMMIT_DIGITS])}{changed}"
