"""What `orchwatch tune` does: one knob after the other, one change at a time.

Of each knob it tries the default, then eight times as much and an eighth, and goes on in the
direction that helped. A change is measured before and after, by what the knob reaches; where an
operation became faster, the whole workload is measured, the other way round, and the change kept
only if both times agree and no operation became slower.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchwatch.analysis import baselines, comparison, tuning
from orchwatch.analysis.comparison import MIN_SAMPLES
from orchwatch.analysis.tuning import Decision
from orchwatch.bench import program
from orchwatch.bench.case import REACHED
from orchwatch.bench.search import Search
from orchwatch.bench.workers import BenchmarkError, EndedEarlyError
from orchwatch.errors import OrchwatchError
from orchwatch.recording import files, locks
from orchwatch.recording.home import DIRECTORY_MODE
from orchwatch.reporters.progress import ProgressBar
from orchwatch.runtime import settings
from orchwatch.runtime.settings import TUNED_FILE, Tuned
from orchwatch.targets import config, target_table
from orchwatch.targets.knobs import KNOBS, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from orchwatch.analysis.benchmark_runs import Result
    from orchwatch.analysis.comparison import Change
    from orchwatch.targets.knobs import Knob, Settings

SILENCE_S = 120.0
_LOCK_FILE = "tuning.lock"
# Of one operation, in one measurement: what spawns processes would take the whole time.
_LIMIT_S = 2.0
_WARMUP = 3


@dataclass
class Outcome:
    """What came out.

    Attributes:
        settings: What holds in the end; of a dry run, what was proposed.
        decisions: What was tried, in order.
        untried: Knobs that the time did not suffice for.
        took_s: Seconds that it took.
    """

    settings: Settings
    decisions: list[Decision] = field(default_factory=list)
    untried: list[str] = field(default_factory=list)
    took_s: float = 0.0


class Workload:
    """What is measured, each time in new processes.

    Args:
        home: The person's home.
        tasks: As `bench.worker` takes them, one process each.
        iterations: How many are timed of each operation in one measurement, at most.
        silence_s: An iteration that takes longer is taken for one that never ends, as with too
            small a pool.
    """

    def __init__(
        self,
        home: Path,
        tasks: Sequence[dict[str, Any]],
        *,
        iterations: int,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._home = home
        self._silence_s = silence_s
        more = {"tuned": True, "iterations": iterations, "warmup": _WARMUP, "limit_s": _LIMIT_S}
        self._tasks = [{**task, **more} for task in tasks]

    def __call__(
        self, found: Mapping[str, Tuned], tell: Callable[[], None], knob: Knob | None = None
    ) -> list[Result]:
        """Measures it once.

        Args:
            found: The settings.
            tell: Called now and then.
            knob: Measure only what this one reaches, where that is any of it.

        Raises:
            BenchmarkError: It cannot be done.
        """
        collected = program.Collected()
        reached = REACHED[knob.name] if knob else ()
        tasks = [task for task in self._tasks if task["component"] in reached]
        for task in tasks or self._tasks:
            for samples in program.measured(self._home, task, found, self._silence_s):
                collected.add(samples)
                tell()
        return collected.results()


class Tuner:
    """Looks for better settings under a workload.

    Args:
        home: Where the settings and the log of decisions lie.
        workload: What is measured, called as a `Workload`.
        knobs: Which are tried.
        limit_s: Begin nothing new after so many seconds.
        dry_run: Keep nothing.
    """

    def __init__(
        self,
        home: Path,
        workload: Callable[..., list[Result]],
        *,
        knobs: Sequence[Knob] = KNOBS,
        limit_s: float,
        dry_run: bool = False,
    ) -> None:
        self._home = home
        self._workload = workload
        self._knobs = knobs
        self._limit_s = limit_s
        self._dry_run = dry_run
        self._thresholds = target_table.comparison()
        self._said = config.load().tuning
        self._found = settings.tuned(home)
        self._outcome = Outcome(self._settings())
        self._doing = "as it is"

    def run(self) -> Outcome:
        """Tries one knob after the other.

        Raises:
            OrchwatchError: The workload fails as it is, or it was ended; what was kept stays.
        """
        self._began_s = self._told_s = time.monotonic()
        until_s = self._began_s + self._limit_s
        outcome = self._outcome
        try:
            with ProgressBar(sys.stderr, self._limit_s, self._words) as self._bar:
                searches = [Search(knob, knob.of(self._settings())) for knob in self._knobs]
                unfinished = []
                for place, search in enumerate(searches):
                    now_s = time.monotonic()
                    share_s = (until_s - now_s) / (len(searches) - place)
                    if not self._tune(search, now_s + share_s, until_s):
                        unfinished.append(search)
                for search in unfinished:
                    if not self._tune(search, until_s, until_s):
                        outcome.untried.append(search.knob.name)
        except KeyboardInterrupt:
            kept = sum(one.decision == "kept" for one in outcome.decisions)
            changed = f"{kept} of its changes stay" if kept else "nothing was changed"
            raise EndedEarlyError(f"tune: ended before its time; {changed}") from None
        outcome.took_s = time.monotonic() - self._began_s
        return outcome

    def _tune(self, search: Search, share_until_s: float, until_s: float) -> bool:
        """Whether there was time for all of a knob's values; at least for one in each turn."""
        if not search.values:
            return True
        if time.monotonic() >= until_s:
            return False
        before = self._measured(self._found, search.knob)
        _check(before)
        tries_until_s = until_s
        while search.values:
            if time.monotonic() >= tries_until_s:
                return False
            candidate = search.next()
            if after := self._try(search.knob, search.value, candidate, before):
                search.keep(candidate)
                before = after
            tries_until_s = share_until_s
        return True

    def _try(
        self, knob: Knob, value: float, candidate: float, before: list[Result]
    ) -> list[Result] | None:
        """What was measured with a value that is kept; None where it is undone."""
        self._doing = f"{knob.name} {shown(candidate)}"
        found = {**self._found, knob.name: Tuned(candidate, self._said.get(knob.name))}
        after: list[Result] = []
        changes: list[Change] = []
        try:
            after = self._measured(found, knob)
            changes = self._compared(before, after)
            why = _objection(changes, tuning.faster(changes))
            if not why:
                # The other way round, so that a machine that becomes slower favours neither.
                again_after = self._measured(found)
                again_before = self._measured(self._found)
                again = self._compared(again_before, again_after)
                agreed = tuning.faster(changes) & tuning.faster(again)
                changes = self._compared(_joined(again_before, before), _joined(again_after, after))
                after = _joined(after, again_after)
                why = _objection(changes, agreed)
                if why == tuning.NO_GAIN:
                    why = "what became faster did not each time that it was measured"
        except BenchmarkError as error:
            why = f"with it the workload fails: {error}"
        decision = Decision(
            number=0,
            at=tuning.now(),
            decision="undone" if why else "proposed" if self._dry_run else "kept",
            knob=knob.name,
            before=value,
            after=candidate,
            why=why or f"{', '.join(sorted(name for name, _ in tuning.faster(changes)))} is faster",
            operations=tuple(changes),
            replaced=self._found.get(knob.name),
        )
        self._note(decision)
        if why:
            return None
        self._found = found
        if not self._dry_run:
            settings.keep(self._home, found)
        self._outcome.settings = self._settings()
        return after

    def _note(self, decision: Decision) -> None:
        if not self._dry_run:
            decision = numbered(self._home, decision)
            tuning.append(self._home, decision)
        self._outcome.decisions.append(decision)

    def _measured(self, found: dict[str, Tuned], knob: Knob | None = None) -> list[Result]:
        return self._workload(found, self._tell, knob)

    def _tell(self) -> None:
        now_s = time.monotonic()
        self._bar.advance(now_s - self._told_s)
        self._told_s = now_s

    def _compared(self, before: list[Result], after: list[Result]) -> list[Change]:
        return comparison.compare(
            baselines.measurements(before), baselines.measurements(after), self._thresholds
        )

    def _settings(self) -> Settings:
        return settings.of(self._said, self._found)

    def _words(self, done: float, total: float) -> str:
        return f"{done:.0f} of {total:.0f} s, {self._doing}"


@contextlib.contextmanager
def alone(home: Path) -> Iterator[None]:
    """Keeps any other `orchwatch tune` of the same home out.

    Raises:
        OrchwatchError: One runs.
    """
    path = home / _LOCK_FILE
    try:
        home.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
        lock = files.descriptor(path, os.O_RDWR | os.O_CREAT, links=False)
    except OSError as error:
        raise OrchwatchError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        if not locks.lock_exclusively(lock, 0):
            raise OrchwatchError(f"tune: another orchwatch tune runs already on {home}")
        for left in home.glob(f"{TUNED_FILE}.*.tmp"):  # one was killed while it wrote
            left.unlink(missing_ok=True)
        yield
    finally:
        os.close(lock)


def undo(home: Path) -> tuple[Decision, Settings]:
    """Takes back the newest change that is in effect; gives that, and the settings since.

    Raises:
        OrchwatchError: There is none.
    """
    said = config.load().tuning
    found = settings.tuned(home)
    now = settings.of(said, found)
    in_effect = tuning.read(home).in_effect(now)
    if not in_effect:
        raise OrchwatchError("tune undo: no setting in effect was found by orchwatch tune")
    last = in_effect[-1]
    del found[last.knob]
    if last.replaced is not None:
        found[last.knob] = last.replaced
    since = settings.of(said, found)
    knob = next(knob for knob in KNOBS if knob.name == last.knob)
    settings.keep(home, found)
    decision = Decision(
        number=0,
        at=tuning.now(),
        decision="taken back",
        knob=last.knob,
        before=last.after,
        after=knob.of(since),
        why=f"decision {last.number} was taken back",
        of=last.number,
    )
    decision = numbered(home, decision)
    tuning.append(home, decision)
    return decision, since


def numbered(home: Path, decision: Decision) -> Decision:
    """The decision with the number that it has in the log."""
    numbers = [one.number for one in tuning.read(home).decisions]
    return replace(decision, number=max(numbers, default=0) + 1)


def _objection(changes: list[Change], faster: set[tuple[str, str]]) -> str:
    """Why a change is not kept; empty where nothing speaks against it.

    Args:
        changes: How each operation moved.
        faster: Which became faster each time that they were measured.
    """
    slower = tuning.slower(changes)
    if slower:
        return f"{', '.join(slower)} became slower"
    return "" if faster & tuning.faster(changes) else tuning.NO_GAIN


def _check(results: list[Result]) -> None:
    """The workload as it is has something to compare."""
    if any(result.succeeded >= MIN_SAMPLES for result in results):
        return
    for result in results:
        for said in result.errors:
            raise OrchwatchError(f"tune: {result.operation} fails: {said}")
    raise OrchwatchError(f"tune: {MIN_SAMPLES} iterations must succeed")


def _joined(first: list[Result], second: list[Result]) -> list[Result]:
    """Two measurements of the same as one; an operation that only the first has stays as it is."""
    others = {(result.operation, result.component): result for result in second}
    return [_both(one, others.get((one.operation, one.component))) for one in first]


def _both(one: Result, other: Result | None) -> Result:
    if other is None:
        return one
    return replace(
        one,
        samples_s=one.samples_s + other.samples_s,
        loops_s=one.loops_s + other.loops_s,
        errors={
            said: one.errors.get(said, 0) + other.errors.get(said, 0)
            for said in (*one.errors, *other.errors)
        },
    )
