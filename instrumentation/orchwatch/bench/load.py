"""Many processes at once, each doing every component in turn, at a stated rate."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchwatch.analysis.benchmark_load import Load
from orchwatch.bench import machine
from orchwatch.bench.program import Collected
from orchwatch.bench.worker import SHARED_SESSION, WRITES
from orchwatch.bench.workers import BenchmarkError, EndedEarlyError, Workers
from orchwatch.recording.home import home
from orchwatch.reporters.progress import ProgressBar
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.testing import capture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


# So long all processes together may say nothing while they start or end: more than any operation
# of a benchmark waits for something.
_SILENCE_S = 90.0
# A process of Python's starts on one core, and waits for its agents meanwhile.
_STARTING_PER_CORE = 2


@dataclass
class _Reports:
    """What the processes say of themselves.

    Attributes:
        going: Whether all were ready and began.
        start_s: Seconds until then, from the request.
    """

    processes: int
    duration_s: float
    ready: int = 0
    measured: int = 0
    done: int = 0
    late: int = 0
    acknowledged: int = 0
    samples: Collected = field(default_factory=Collected)
    going: bool = False
    start_s: float = 0.0
    _since_s: float = field(default_factory=time.monotonic)
    _heard_s: float = field(default_factory=time.monotonic)

    @property
    def passed_s(self) -> float:
        """Seconds since they began."""
        return time.monotonic() - self._since_s if self.going else 0.0

    def began(self) -> None:
        """All were ready."""
        now_s = time.monotonic()
        self.going, self.start_s, self._since_s = True, now_s - self._since_s, now_s

    def add(self, message: dict[str, Any]) -> None:
        """One more message of one of them; an empty one where none came for a while.

        Raises:
            BenchmarkError: They said nothing for too long.
        """
        self.samples.add(message.get("samples", ()))
        self.ready += "ready" in message
        self.measured += "measured" in message
        self.done += "done" in message
        self.late += message.get("late", 0)
        self.acknowledged += message.get("acknowledged", 0)
        if message or 0 < self.passed_s < self.duration_s:
            self._heard_s = time.monotonic()
        elif time.monotonic() > self._heard_s + _SILENCE_S:
            arrived, where = (
                (self.done, "to an end") if self.going else (self.ready, "as far as ready")
            )
            raise BenchmarkError(
                f"{arrived} of {self.processes} processes came {where}, and then nothing"
                f" happened for {_SILENCE_S:g} s"
            )


def run(
    components: Sequence[str],
    *,
    processes: int,
    rate: float,
    duration_s: float,
    look: Callable[[Workers, float, Sequence[Any]], None] | None = None,
) -> Load:
    """Loads the machine.

    Args:
        components: What each process does in turn, beside a write to a session that all share.
        processes: How many at once.
        rate: Operations a second, of all of them together; 0 leaves no pause.
        duration_s: For how long, in seconds.
        look: Called about once a second with the processes, the seconds since they began and the
            samples since the last time.

    Raises:
        OrchwatchError: A component cannot be used, a process hangs, or it was ended.
    """
    reports = _Reports(processes, duration_s)
    fresh: list[Any] = []
    task = {
        "components": list(components),
        "processes": processes,
        "every_s": processes / rate if rate else 0.0,
        "duration_s": duration_s,
    }

    def words(done: float, total: float) -> str:
        if not reports.going:
            return f"{reports.ready} of {processes} processes are ready"
        operations = Counter({key: len(found) for key, found in reports.samples.samples.items()})
        return f"{done:.0f} of {total:.0f} s, {operations.total()} operations"

    try:
        with Workers(Path(home())) as workers, ProgressBar(sys.stderr, duration_s, words) as bar:
            # All at once they would only be in each other's way.
            for _ in range(min(processes, _STARTING_PER_CORE * len(os.sched_getaffinity(0)))):
                workers.start("load", task)
            shown_s = 0.0
            for number, message in workers.messages(1.0):
                reports.add(message)
                fresh += message.get("samples", ())
                if "ready" in message and workers.started < processes:
                    workers.start("load", task)
                if not reports.going and reports.ready == processes:
                    reports.began()
                    workers.go()
                if "measured" in message and reports.measured == processes:
                    workers.go()  # to close what they have open
                passed_s = reports.passed_s
                bar.advance(passed_s - shown_s)
                shown_s = passed_s
                if number < 0 and reports.going and look is not None:
                    look(workers, passed_s, fresh)
                    fresh = []
            # Here it would be recorded as the person's own.
            with capture(), SessionStateManager(workers.workspace, SHARED_SESSION) as shared:
                found = shared.get(WRITES, 0)
    except KeyboardInterrupt:
        raise EndedEarlyError("bench: ended before its time; nothing was kept") from None
    return Load(
        run=machine.run_of(reports.samples.results()),
        processes=processes,
        rate=rate,
        start_s=reports.start_s,
        duration_s=duration_s,
        late=reports.late,
        acknowledged=reports.acknowledged,
        lost=reports.acknowledged - found,
    )
