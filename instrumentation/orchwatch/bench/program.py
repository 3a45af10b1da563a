"""What `orchwatch bench run`, `load` and `stress` do."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchwatch.analysis import benchmark_runs
from orchwatch.analysis.benchmark_runs import Result, Run
from orchwatch.bench import machine
from orchwatch.bench.case import COMPONENTS
from orchwatch.bench.workers import BenchmarkError, EndedEarlyError, Workers
from orchwatch.recording.home import home
from orchwatch.reporters.progress import ProgressBar
from orchwatch.targets import config, target_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchwatch.bench.measuring import Sample
    from orchwatch.runtime.settings import Tuned
    from orchwatch.targets.target_table import OperationTarget

_LOOK_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Own:
    """What a person wants to have benchmarked.

    Attributes:
        operation: The name that it is kept under.
        command: Program and arguments; or
        callable: `pkg.mod:function`.
    """

    operation: str
    command: tuple[str, ...] = ()
    callable: str = ""

    @property
    def task(self) -> dict[str, Any]:
        """For a worker."""
        what = {"command": self.command} if self.command else {"callable": self.callable}
        return {"component": self.component, "operation": self.operation, **what}

    @property
    def component(self) -> str:
        """`command` or `callable`."""
        return "command" if self.command else "callable"


@dataclass
class Collected:
    """What workers have measured so far, by component and operation."""

    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=dict)

    def add(self, samples: Sequence[Sample]) -> None:
        """Some more."""
        for sample in samples:
            self.samples.setdefault((sample[0], sample[1]), []).append(sample)

    def results(self) -> list[Result]:
        """The figures, with the table's verdict."""
        targets = target_table.load().operations
        found = []
        order = list(COMPONENTS)
        for (component, operation), samples in sorted(
            self.samples.items(),
            key=lambda entry: order.index(entry[0][0]) if entry[0][0] in order else len(order),
        ):
            done = [sample for sample in samples if sample[2] is not None]
            result = Result(
                operation=operation,
                component=component,
                samples_s=tuple(sample[2] for sample in done if sample[2] is not None),
                loops_s=tuple(sample[3] for sample in done),
                errors=benchmark_runs.counted(
                    sample[4] for sample in samples if sample[4] is not None
                ),
            )
            found.append(_judged(result, targets.get(operation)))
        return found


def run(
    components: Sequence[str], own: Own | None, *, iterations: int, warmup: int
) -> tuple[Run, Path]:
    """Benchmarks one component after the other, each in a process of its own, and keeps the run.

    Returns:
        The run, and the file that it is kept in.

    Raises:
        OrchwatchError: A component cannot be benchmarked, or it was ended.
    """
    tasks = [own.task] if own else [{"component": name} for name in components]
    number = sum(len(COMPONENTS.get(task["component"], (None,))) for task in tasks)
    collected = Collected()
    directory = Path(home())
    finished = 0

    def words(done: float, total: float) -> str:
        return f"{done:.0f} of {total:.0f} iterations, {tasks[finished]['component']}"

    try:
        with ProgressBar(sys.stderr, number * iterations, words) as bar:
            for task in tasks:
                for samples in measured(
                    directory, {**task, "iterations": iterations, "warmup": warmup}
                ):
                    collected.add(samples)
                    bar.advance(len(samples))
                finished += 1
    except KeyboardInterrupt:
        raise EndedEarlyError(
            f"bench: ended after {finished} of {len(tasks)} components; nothing was kept"
        ) from None
    done = machine.run_of(collected.results())
    return done, benchmark_runs.append(directory, done)


def drop_oldest() -> int:
    """Lets go of the runs that the person's `[retention]` does not keep; gives how many.

    Raises:
        OrchwatchError: They cannot be dropped, or the person's file breaks a rule.
    """
    return benchmark_runs.drop_oldest(Path(home()), config.load().retention.benchmark_bytes)


def measured(
    home: Path,
    task: Mapping[str, Any],
    tuned: Mapping[str, Tuned] | None = None,
    silence_s: float = math.inf,
) -> Iterator[list[Sample]]:
    """Samples of one process that benchmarks, as they come.

    Args:
        home: The person's home.
        task: What it is to do, see `worker`.
        tuned: The settings that it works with, see `Workers`.
        silence_s: So long it may go without a sample.

    Raises:
        BenchmarkError: It cannot go on.
    """
    name = task.get("operation", task["component"])
    with Workers(home, tuned) as workers:
        workers.start(name, task)
        heard_s = time.monotonic()
        for number, message in workers.messages(_LOOK_S):
            if number >= 0:
                heard_s = time.monotonic()
                yield message.get("samples", [])
            elif time.monotonic() > heard_s + silence_s:
                raise BenchmarkError(f"{name}: no iteration ended within {silence_s:g} s")


def _judged(result: Result, row: OperationTarget | None) -> Result:
    """With the verdict of the table; what never succeeded has missed its target."""
    if row is None:
        return result
    p95_s = result.figures_s()["p95"]
    status = row.status(math.inf if p95_s is None and result.failures else p95_s)
    return replace(result, target_s=row.target_s, status=status)
