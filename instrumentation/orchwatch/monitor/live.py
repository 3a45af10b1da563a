"""Everything that the monitor process knows, out of the window instead of the store."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchwatch.analysis import kpis, probes, snapshot, status
from orchwatch.monitor.call_times import CallTimes
from orchwatch.monitor.intake import Intake
from orchwatch.monitor.window import Window
from orchwatch.store.selection import Selection
from orchwatch.store.spans import NS_PER_S, OutsideWindow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import psutil

    from orchwatch.analysis.busy import Interval
    from orchwatch.analysis.kpis import Kpis
    from orchwatch.analysis.snapshot import Snapshot
    from orchwatch.store.own_metrics import Metric
    from orchwatch.store.spans import Work


class LiveGatherer(status.GathererBase):
    """Measures again and again without asking the store about the whole window each time.

    Args:
        home: The home directory.
        project: Where coverage and state files are looked for.

    Attributes:
        call_times: Where time went by call path.
    """

    def __init__(self, home: Path, project: Path) -> None:
        super().__init__(home, project)
        length_ns = kpis.WINDOW_S * NS_PER_S
        self._window = Window(self._targets, length_ns)
        self._window.move_on(time.time_ns())
        self.call_times = CallTimes(home)
        self._intake = Intake(home, self._window, self.call_times)

    def step(self, now_s: float) -> None:
        """Takes in operations that ended, as is due by the monotonic clock."""
        self._intake.step(now_s)

    def close(self) -> None:
        """Ends what still goes on."""
        self._intake.close()

    def work(self, since_ns: int) -> list[Work]:
        """What operations did; see `spans.work`."""
        return self._window.durations.work(since_ns)

    def _recorders(self, since_ns: int) -> Mapping[str, Iterable[psutil.Process]]:
        return probes.running(self._window.recorders())

    def _kpis(self, unfinished: Iterable[Interval]) -> Kpis:
        now_ns = time.time_ns()
        self._window.move_on(now_ns)
        return self._window.kpis(now_ns, unfinished)

    def _snapshot(self, now_ns: int, own: Mapping[str, Metric] | None) -> Snapshot:
        self._window.move_on(now_ns)
        return snapshot.of(
            self._home,
            self._targets,
            self._window.durations.summaries(),
            selection=Selection(since_ns=self._window.since_ns),
            as_of=datetime.now(UTC),
            outside=OutsideWindow(self._window.durations.earlier, 0),
            unreadable={},  # commands that ask the store report these
            measured=self.levels(),
            samples=status.samples(self._business),
            own=own,
        )
