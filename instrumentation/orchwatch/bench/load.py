"""Many processes at once, each doing every component in turn, at a stated rate."""

from __future__ import annotations

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
from orchwatch.bench.workers import EndedEarlyError, Workers
from orchwatch.recording.home import home
from orchwatch.reporters.progress import ProgressBar
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.testing import capture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass
class _Reports:
    """What the processes say of themselves besides their samples."""

    ready: int = 0
    late: int = 0
    acknowledged: int = 0
    samples: Collected = field(default_factory=Collected)

    def add(self, message: dict[str, Any]) -> None:
        self.samples.add(message.get("samples", ()))
        self.ready += "ready" in message
        self.late += message.get("late", 0)
        self.acknowledged += message.get("acknowledged", 0)


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
        OrchwatchError: A component cannot be used, or it was ended.
    """
    reports = _Reports()
    fresh: list[Any] = []
    began_s = time.monotonic()
    going = False

    def words(done: float, total: float) -> str:
        if not going:
            return f"{reports.ready} of {processes} processes are ready"
        operations = Counter({key: len(found) for key, found in reports.samples.samples.items()})
        return f"{done:.0f} of {total:.0f} s, {operations.total()} operations"

    try:
        with Workers(Path(home())) as workers, ProgressBar(sys.stderr, duration_s, words) as bar:
            for _ in range(processes):
                task = {
                    "components": list(components),
                    "processes": processes,
                    "every_s": processes / rate if rate else 0.0,
                    "duration_s": duration_s,
                }
                workers.start("load", task)
            shown_s = 0.0
            for number, message in workers.messages(1.0):
                reports.add(message)
                fresh += message.get("samples", ())
                if not going and reports.ready == processes:
                    going, began_s = True, time.monotonic()
                    workers.go()
                passed_s = time.monotonic() - began_s if going else 0.0
                bar.advance(passed_s - shown_s)
                shown_s = passed_s
                if number < 0 and going and look is not None:
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
        duration_s=duration_s,
        late=reports.late,
        acknowledged=reports.acknowledged,
        lost=reports.acknowledged - found,
    )
