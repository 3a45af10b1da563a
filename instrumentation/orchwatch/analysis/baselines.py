"""Baselines: named measurements that are kept, and what is held against them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchwatch.analysis import benchmark_runs, comparison
from orchwatch.analysis.comparison import Change, Measurement
from orchwatch.errors import OrchwatchError
from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from orchwatch.analysis.benchmark_runs import Result, Run

DIRECTORY = "baselines"
RECORDED = "recorded"
BENCHMARK = "benchmark"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_BYTES = 64 * 1024 * 1024
_COMMIT_DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class Side:
    """What is held against another: measurements, and where they are from.

    Attributes:
        measurements: One for each operation.
        words: What they are, for a person.
        machine: What they were measured on; empty for recorded operations.
    """

    measurements: tuple[Measurement, ...]
    words: str
    machine: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """One that is kept.

    Attributes:
        name: Letters, digits, `.`, `_` and `-`.
        kind: `benchmark` or `recorded`.
        side: What it holds.
        saved: When, ISO 8601 in UTC.
    """

    name: str
    kind: str
    side: Side
    saved: str


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two sides, held against each other.

    Attributes:
        changes: One for each operation.
        before: What the one side is.
        after: What the other is.
        notes: What has to be known, sentences.
        unreadable: Lines of the kept runs that could not be read.
    """

    changes: tuple[Change, ...]
    before: str
    after: str
    notes: tuple[str, ...] = ()
    unreadable: int = 0

    @property
    def regressions(self) -> tuple[Change, ...]:
        """What became slower, or fails more."""
        return tuple(change for change in self.changes if change.verdict == "regression")


def compare(before: Side, after: Side, *, unreadable: int = 0) -> Compared:
    """Holds one side against the other, by the table's thresholds."""
    changes = comparison.compare(before.measurements, after.measurements, target_table.comparison())
    notes = _differing(before.machine, after.machine)
    if before == after:
        notes.append("Both are the same measurement: nothing was benchmarked in between.")
    return Compared(
        changes=tuple(changes),
        before=before.words,
        after=after.words,
        notes=tuple(notes),
        unreadable=unreadable,
    )


def of_run(run: Run) -> Side:
    """A benchmark run as one side."""
    commit = f" of commit {run.commit[:_COMMIT_DIGITS]}" if run.commit else ""
    return Side(
        measurements=measurements(run.results),
        words=f"the benchmark run{commit} at {run.at}",
        machine=run.machine,
    )


def measurements(results: Iterable[Result]) -> tuple[Measurement, ...]:
    """What a benchmark measured, to be compared."""
    return tuple(
        Measurement(
            operation=result.operation,
            component=result.component,
            samples_s=result.samples_s,
            loops_s=result.loops_s,
            failures=result.failures,
            succeeded=result.succeeded,
        )
        for result in results
    )


def save(home: Path, baseline: Baseline) -> Path:
    """Keeps a baseline in the place of an earlier one of its name; gives its file.

    Raises:
        OrchwatchError: The name is none, or it cannot be written.
    """
    path = _path(home, baseline.name)
    record = {
        "name": baseline.name,
        "kind": baseline.kind,
        "saved": baseline.saved,
        "words": baseline.side.words,
        "machine": dict(baseline.side.machine),
        "operations": [
            {
                "operation": one.operation,
                "component": one.component,
                "samples_s": one.samples_s,
                "loops_s": one.loops_s,
                "failures": one.failures,
                "succeeded": one.count,
            }
            for one in baseline.side.measurements
        ],
    }
    try:
        path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        files.replace(path, json.dumps(record, allow_nan=False).encode() + b"\n", sync=True)
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def load(home: Path, name: str) -> Baseline:
    """The baseline of that name.

    Raises:
        OrchwatchError: There is none, or its file is damaged.
    """
    path = _path(home, name)
    try:
        return _parsed(json.loads(files.read(path, _MAX_BYTES, links=False)))
    except FileNotFoundError:
        known = ", ".join(names(home)) or "none"
        raise OrchwatchError(f"baseline {name}: there is none; known: {known}") from None
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise OrchwatchError(f"{path}: damaged, or no baseline; save it anew") from error


def names(home: Path) -> list[str]:
    """Those that are kept, by name."""
    return sorted(path.stem for path in (home / DIRECTORY).glob("*.json"))


def _path(home: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise OrchwatchError(
            f"baseline {name!r}: a name has letters, digits, '.', '_' and '-', at most 100, and"
            " begins with a letter or digit"
        )
    return home / DIRECTORY / f"{name}.json"


def _parsed(record: Any) -> Baseline:
    measurements = []
    for entry in record["operations"]:
        samples_s, loops_s = (
            tuple(float(value) for value in entry[key]) for key in ("samples_s", "loops_s")
        )
        measurements.append(
            Measurement(
                operation=str(entry["operation"]),
                component=str(entry["component"]),
                samples_s=samples_s,
                loops_s=loops_s,
                failures=int(entry["failures"]),
                succeeded=int(entry["succeeded"]),
            )
        )
    side = Side(
        measurements=tuple(measurements),
        words=str(record["words"]),
        machine=dict(record["machine"]),
    )
    return Baseline(
        name=str(record["name"]), kind=str(record["kind"]), side=side, saved=str(record["saved"])
    )


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A warning where two machines are held against each other."""
    if not before or not after:
        return []
    differing = [
        f"{key} {before.get(key)} and {after.get(key)}"
        for key in benchmark_runs.SAME_MACHINE
        if before.get(key) != after.get(key)
    ]
    if not differing:
        return []
    return [f"Not the same machine: {', '.join(differing)}; a change may be the machine's."]


def commits(runs: Sequence[Run]) -> dict[str, Run]:
    """The newest run of each commit that has one, without changes of files, oldest first."""
    found: dict[str, Run] = {}
    for run in runs:
        if run.commit and not run.commit.endswith("-dirty"):
            found.pop(run.commit, None)
            found[run.commit] = run
    return found


def newest(home: Path) -> tuple[Run, int]:
    """The newest run that is kept, and how many lines beside it could not be read.

    Raises:
        OrchwatchError: There is none.
    """
    runs = benchmark_runs.read(home)
    if not runs.kept:
        raise OrchwatchError("no benchmark was run yet: orchwatch bench run")
    return runs.kept[-1], runs.unreadable
