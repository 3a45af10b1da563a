"""Benchmark runs: what one measured, and the file that keeps every one of them."""

from __future__ import annotations

import errno
import json
import math
import os
import statistics
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchwatch.analysis.comparison import thinned
from orchwatch.errors import OrchwatchError
from orchwatch.recording import files
from orchwatch.recording.home import DIRECTORY_MODE
from orchwatch.recording.locks import lock_exclusively

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from orchwatch.targets.target_table import Status

RUNS_FILE = "benchmarks/runs.jsonl"
_LOCK_WAIT_S = 30.0
# What of the machine must be the same for two runs to be compared.
SAME_MACHINE = ("host", "cpu", "cores", "python")
_MS = 1000.0
_MAX_ERRORS = 20


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one operation took, again and again.

    Attributes:
        operation: Its name, e.g. `state.query`.
        component: What was benchmarked, e.g. `state`.
        samples_s: Seconds that each iteration took which succeeded, in order.
        loops_s: What the same empty loop took after each of these.
        errors: How often an iteration failed, by what it said.
        target_s: What the table asks for; None where it has no such operation.
        status: The verdict on the 95th percentile, see `OperationTarget.status`.
        kept_of: How many succeeded, where `samples_s` is only some of them.
    """

    operation: str
    component: str
    samples_s: tuple[float, ...]
    loops_s: tuple[float, ...] = ()
    errors: Mapping[str, int] = field(default_factory=dict)
    target_s: float | None = None
    status: Status = "unknown"
    kept_of: int | None = None

    @property
    def succeeded(self) -> int:
        """How many iterations succeeded."""
        return len(self.samples_s) if self.kept_of is None else self.kept_of

    @property
    def failures(self) -> int:
        """How many iterations failed."""
        return sum(self.errors.values())

    @property
    def iterations(self) -> int:
        """How many there were."""
        return self.succeeded + self.failures

    @property
    def success_rate(self) -> float | None:
        """The share of iterations that succeeded; None without any."""
        return self.succeeded / self.iterations if self.iterations else None

    def figures_s(self) -> dict[str, float | None]:
        """Mean, median and so on in seconds, by the names they have in JSON without their unit."""
        ordered = sorted(self.samples_s)
        if not ordered:
            return dict.fromkeys(("mean", "median", "stddev", "min", "max", "p95", "p99"))
        return {
            "mean": statistics.fmean(ordered),
            "median": statistics.median(ordered),
            "stddev": statistics.stdev(ordered) if len(ordered) > 1 else 0.0,
            "min": ordered[0],
            "max": ordered[-1],
            "p95": percentile(ordered, 95),
            "p99": percentile(ordered, 99),
        }

    def as_json(self) -> dict[str, Any]:
        """As `orchwatch bench run --format json` prints it."""
        figures = self.figures_s()
        return {
            "operation": self.operation,
            "component": self.component,
            "iterations": self.iterations,
            **{f"{name}_ms": _in_ms(value) for name, value in figures.items()},
            "success_rate": self.success_rate,
            "target_ms": _in_ms(self.target_s),
            "status": self.status,
        }


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a benchmark.

    Attributes:
        results: One for each operation.
        machine: What it ran on: `host`, `cpu`, `cores`, `memory_bytes`, `system`, `python`, `load`,
            and `noise`, how much the same empty loop varied.
        version: Of Orchwatch.
        commit: What the current directory's repository had checked out, `-dirty` behind it where
            files were changed; None without a repository.
        at: When it ended, ISO 8601 in UTC.
    """

    results: tuple[Result, ...]
    machine: Mapping[str, Any]
    version: str
    commit: str | None
    at: str

    def as_json(self) -> dict[str, Any]:
        """As `orchwatch bench run --format json` prints it."""
        return {
            "results": [result.as_json() for result in self.results],
            "machine": dict(self.machine),
            "version": self.version,
            "commit": self.commit,
            "at": self.at,
        }


@dataclass(frozen=True)
class Runs:
    """All runs that are kept.

    Attributes:
        kept: The oldest first.
        unreadable: How many lines of their file hold none: torn, or not by this program.
    """

    kept: tuple[Run, ...]
    unreadable: int = 0


def percentile(ascending: Sequence[float], percent: int) -> float:
    """Nearest rank, as everywhere here: a value that really occurred."""
    count = len(ascending)
    return ascending[max(1, count - count * (100 - percent) // 100) - 1]


def append(home: Path, run: Run) -> Path:
    """Adds a run to those that are kept, with what each iteration took; gives the file.

    One `write(2)` adds the line. Where the last one before it was cut off, a new line begins first.

    Raises:
        OrchwatchError: It cannot be written.
    """
    path = home / RUNS_FILE
    line = json.dumps(as_record(run), allow_nan=False).encode() + b"\n"
    try:
        path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        with _locked(path):
            file = files.descriptor(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, links=False)
            try:
                size = os.fstat(file).st_size
                torn = size > 0 and os.pread(file, 1, size - 1) != b"\n"
                files.write_all(file, b"\n" + line if torn else line)
            finally:
                os.close(file)
    except OSError as error:
        raise OrchwatchError(f"{path}: the run cannot be kept: {error.strerror}") from error
    return path


def drop_oldest(home: Path, max_bytes: float) -> int:
    """Lets go of the oldest runs beyond a limit, never of the last one; gives how many.

    Args:
        home: The person's home.
        max_bytes: What the file may take; 0 is no limit.

    Raises:
        OrchwatchError: The file cannot be written; it is as it was.
    """
    path = home / RUNS_FILE
    try:
        if not max_bytes or path.stat().st_size <= max_bytes:
            return 0
        with _locked(path):
            with files.reader(path, links=False) as file:
                lines = [line.rstrip(b"\n") + b"\n" for line in files.lines(file) if line.strip()]
            kept, size = len(lines), 0
            while kept and (not size or size + len(lines[kept - 1]) <= max_bytes):
                kept -= 1
                size += len(lines[kept])
            files.replace(path, b"".join(lines[kept:]))
            return kept
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be shortened: {error.strerror}") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Beside other runs: who shortens the file must not lose what another one adds."""
    lock = files.descriptor(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, links=False)
    try:
        if not lock_exclusively(lock, _LOCK_WAIT_S):
            raise OSError(errno.EAGAIN, "another run is being kept", str(path))
        yield
    finally:
        os.close(lock)


def read(home: Path) -> Runs:
    """All runs that are kept; none where there is no file.

    Raises:
        OrchwatchError: The file cannot be read.
    """
    path = home / RUNS_FILE
    kept, unreadable = [], 0
    try:
        with files.reader(path, links=False) as file:
            for line in files.lines(file):
                run = _parsed(line) if line.strip() else None
                if run is not None:
                    kept.append(run)
                elif line.strip():
                    unreadable += 1
    except FileNotFoundError:
        return Runs(())
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be read: {error.strerror}") from error
    return Runs(tuple(kept), unreadable)


def as_record(run: Run) -> dict[str, Any]:
    """A run as JSON, with what each iteration took."""
    record = run.as_json()
    for entry, result in zip(record["results"], run.results, strict=True):
        entry["errors"] = dict(result.errors)
        entry["samples_ms"] = [round(value * _MS, 6) for value in thinned(result.samples_s)]
        entry["loops_ms"] = [round(value * _MS, 6) for value in thinned(result.loops_s)]
    return record


def from_record(record: Any) -> Run:
    """The run that `as_record` has written.

    Raises:
        ValueError: It is none; so are LookupError, TypeError and AttributeError.
    """
    results = []
    for entry in record["results"]:
        target_ms = entry["target_ms"]
        samples_s = _seconds(entry["samples_ms"])
        errors = {_text(said): int(count) for said, count in entry["errors"].items()}
        succeeded = int(entry["iterations"]) - sum(errors.values())
        results.append(
            Result(
                operation=_text(entry["operation"]),
                component=_text(entry["component"]),
                samples_s=samples_s,
                loops_s=_seconds(entry["loops_ms"]),
                errors=errors,
                target_s=None if target_ms is None else _seconds([target_ms])[0],
                status=entry["status"],
                kept_of=None if succeeded == len(samples_s) else succeeded,
            )
        )
    commit = record["commit"]
    return Run(
        results=tuple(results),
        machine=dict(record["machine"]),
        version=_text(record["version"]),
        commit=None if commit is None else _text(commit),
        at=_text(record["at"]),
    )


def counted(said: Iterator[str]) -> dict[str, int]:
    """How often each error was said; those beyond a number of different ones are one."""
    errors: dict[str, int] = {}
    for text in said:
        known = text if text in errors or len(errors) < _MAX_ERRORS else "other errors"
        errors[known] = errors.get(known, 0) + 1
    return errors


def _parsed(line: bytes) -> Run | None:
    try:
        return from_record(json.loads(line))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _seconds(values_ms: Any) -> tuple[float, ...]:
    values = tuple(value / _MS for value in values_ms)
    if not all(math.isfinite(value) and value >= 0 for value in values):
        raise ValueError("a duration is finite, and 0 or more")
    return values


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("must be a text")
    return value


def _in_ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * _MS, 6)
