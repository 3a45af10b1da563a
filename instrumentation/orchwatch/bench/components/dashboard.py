"""The dashboard: every operation against its target, from 10,000 that were recorded."""

from __future__ import annotations

import io
from pathlib import Path

from orchwatch import semconv
from orchwatch.analysis import snapshot
from orchwatch.bench import workload
from orchwatch.bench.case import Case
from orchwatch.recording.home import home
from orchwatch.recording.operation import operation
from orchwatch.reporters import table
from orchwatch.store.database import Store
from orchwatch.targets import target_table

_RECORDED = "recorded"


class DashboardRefresh(Case):
    """Takes a snapshot and lays it out."""

    operation = semconv.DASHBOARD_REFRESH

    def __init__(self, workspace: Path) -> None:
        super().__init__(workspace)
        self._targets = target_table.load()
        _record(workspace / _RECORDED, list(self._targets.operations))
        self._home = Path(home())
        self._store = Store(self._home)

    def run(self) -> None:
        with operation(semconv.DASHBOARD_REFRESH):
            taken = snapshot.take(self._home, store=self._store, targets=self._targets)
            table.render(taken, io.StringIO(), colour=False)

    def close(self) -> None:
        self._store.close()


def _record(once: Path, names: list[str]) -> None:
    """What there is to show; the first of several processes records it for all of them."""
    try:
        once.mkdir()
    except FileExistsError:
        return
    for number in range(workload.OPERATIONS):
        with operation(names[number % len(names)]):
            pass
