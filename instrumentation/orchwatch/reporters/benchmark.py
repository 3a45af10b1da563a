"""A benchmark run as a table in 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from orchwatch import units
from orchwatch.recording.safe_text import safe
from orchwatch.reporters import columns
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchwatch.analysis.benchmark_runs import Result, Run

_HEADS = ("operation", "n", "failed", "mean", "median", "stddev", "p95", "p99", "target", "status")
_SHOWN_ERRORS = 5
_COMMIT_DIGITS = 12
_ERROR_COLUMNS = 60


def render(run: Run, file: TextIO, *, colour: bool) -> None:
    """Writes the results, each with its verdict, then what failed, and where it ran."""
    rows = [(_row(result), result.status) for result in run.results]
    columns.table(_HEADS, rows, file, colour=colour)
    file.write("\n")
    columns.sentences([*errors(run), *_about(run)], file)


def missed(run: Run) -> list[str]:
    """What a run does not hold, each as a few words; nothing where all is well."""
    found = []
    for result in run.results:
        name = safe(result.operation)
        if result.failures:
            found.append(f"{name} failed {result.failures} of {counted(result.iterations, 'time')}")
        elif result.status == "miss":
            p95 = units.duration(result.figures_s()["p95"])
            found.append(f"{name} took {p95} at p95, target {units.duration(result.target_s)}")
    return found


def _row(result: Result) -> tuple[str, ...]:
    figures = result.figures_s()
    return (
        safe(result.operation),
        str(result.iterations),
        str(result.failures),
        *(units.duration(figures[name]) for name in ("mean", "median", "stddev", "p95", "p99")),
        units.duration(result.target_s),
        units.ABSENT if result.target_s is None else result.status,
    )


def errors(run: Run) -> Iterator[str]:
    """What iterations failed with, the most frequent first, a line each."""
    for result in run.results:
        ordered = sorted(result.errors.items(), key=lambda entry: -entry[1])
        for said, number in ordered[:_SHOWN_ERRORS]:
            yield f"{safe(result.operation)} failed {number}x: {safe(said, _ERROR_COLUMNS)}"
        if len(ordered) > _SHOWN_ERRORS:
            yield f"{safe(result.operation)}: {len(ordered) - _SHOWN_ERRORS} more kinds of errors"


def _about(run: Run) -> Iterator[str]:
    machine = run.machine
    noise = machine["noise"]
    if noise is not None:
        yield (
            f"Noise of the machine: of the empty loops in between, one in 20 took"
            f" {units.whole_share(noise)} longer than the median; load {machine['load']}."
        )
    checked_out = f"commit {run.commit[:_COMMIT_DIGITS]}" if run.commit else "no commit"
    if run.commit and run.commit.endswith("-dirty"):
        checked_out += ", with changes"
    yield (
        f"{safe(str(machine['cpu']))}, {counted(machine['cores'], 'core')}, Python"
        f" {machine['python']}; orchwatch {run.version}, {checked_out}."
    )
