"""Everything that the monitor process knows: what it leaves for short commands, and exports.

System figures are due every 30 s and business figures every 60 s (requirements); what was measured
less recently stays in the snapshot as it was.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from orchwatch.analysis import health, kpis, probes, project, snapshot, storage, time_spent
from orchwatch.analysis.kpis import Kpis
from orchwatch.analysis.snapshot import Sample
from orchwatch.store.selection import ALL
from orchwatch.store.small import SmallStore
from orchwatch.targets import target_table as targets_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import psutil

    from orchwatch.analysis.busy import Interval
    from orchwatch.analysis.health import Alert, Health
    from orchwatch.analysis.probes import Tree
    from orchwatch.analysis.project import Figure
    from orchwatch.analysis.snapshot import Snapshot
    from orchwatch.analysis.time_spent import Spent
    from orchwatch.store.database import Store
    from orchwatch.store.own_metrics import Metric
    from orchwatch.store.selection import Selection
    from orchwatch.targets.target_table import Targets

SYSTEM_INTERVAL_S = 30
BUSINESS_INTERVAL_S = 60

_NS = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class System:
    """What is used.

    Attributes:
        session_trees: The processes of each session, see `probes.Sessions`.
        storage_bytes: What orchwatch keeps on disk, see `storage`; None where it keeps nothing.
        storage_growth_bytes: What of it was written in the last day.
    """

    session_trees: Mapping[str, Tree] = field(default_factory=dict)
    storage_bytes: int | None = None
    storage_growth_bytes: float | None = None

    @property
    def session_memory_bytes(self) -> dict[str, int]:
        """Resident memory by session."""
        return {session_id: tree.memory_bytes for session_id, tree in self.session_trees.items()}


@dataclass(frozen=True, kw_only=True)
class Business:
    """What is achieved.

    Attributes:
        kpis: Computed from the spans.
        project: What the project says about itself, by the names of `project.HIGHEST`.
        notes: A line for each source that cannot be used.
        phases: Where the time of the latest turns went; None where there are none, and in the
            monitor process, which keeps no turns.
    """

    kpis: Kpis = field(default_factory=Kpis)
    project: Mapping[str, Figure] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    phases: Spent | None = None

    def value(self, kpi: str) -> float | None:
        """A figure of the project; None where it was not measured."""
        figure = self.project.get(kpi)
        return None if figure is None else figure.value


@dataclass(frozen=True, kw_only=True)
class Status:
    """How things are at one moment.

    Attributes:
        at_ns: The moment, in Unix nanoseconds.
        window_s: How far back spans were taken into account; None for all.
        snapshot: Operations and levels against their targets.
        system: What is used.
        business: What is achieved.
        health: The score.
        alerts: The rows beyond their alert threshold.
    """

    at_ns: int
    window_s: float | None
    snapshot: Snapshot
    system: System
    business: Business
    health: Health
    alerts: tuple[Alert, ...]


class GathererBase(ABC):
    """Measures again and again, wherever it is known from what operations did.

    Args:
        home: The home directory.
        project: Where coverage and state files are looked for.
        window_s: How far back spans are taken into account; None for all.
        within: Filters; a start or an end of its own takes precedence over the window's.
    """

    def __init__(
        self,
        home: Path,
        project: Path,
        window_s: float | None = kpis.WINDOW_S,
        *,
        within: Selection = ALL,
    ) -> None:
        self._home = home
        self._project = project
        self._window_s = window_s
        self._within = within
        self._sessions = probes.Sessions()
        self._targets = targets_table.load()
        self._rules = health.load(self._targets)
        self._system = System()
        self._business = Business()

    def measure_system(self) -> System:
        """Looks at processes and disk; due every `SYSTEM_INTERVAL_S`.

        Raises:
            OrchwatchError: The store's files cannot be read.
        """
        since_ns = self._since_ns(time.time_ns())
        known = self._recorders(since_ns or 0)
        self._system = System(
            session_trees=self._sessions.trees(known),
            storage_bytes=storage.size_bytes(self._home),
            storage_growth_bytes=storage.growth_bytes(self._home, time.time_ns()),
        )
        return self._system

    def measure_business(self, unfinished: Iterable[Interval] = ()) -> Business:
        """Computes the key figures and reads the project's; due every `BUSINESS_INTERVAL_S`.

        Args:
            unfinished: What is known to go on, see `kpis.measure`.

        Raises:
            OrchwatchError: The store's files cannot be read.
        """
        computed = self._kpis(unfinished)
        figures, notes = project.figures(self._project, self._home)
        self._business = Business(
            kpis=computed, project=figures, notes=tuple(notes), phases=self._phases()
        )
        return self._business

    @property
    def targets(self) -> Targets:
        """The table that is judged by."""
        return self._targets

    def look_at(self, within: Selection) -> None:
        """What to look at from now on."""
        self._within = within

    def tree_below(self, pid: int) -> Tree | None:
        """What a process and those that it started took when `measure_system` looked last."""
        return self._sessions.below(pid)

    def levels(self) -> dict[str, float]:
        """The levels of the table that were measured here, for `snapshot.take`."""
        return levels(self._system, self._business)

    def take(self, own: Mapping[str, Metric] | None = None) -> Status:
        """Puts operations and levels as they are now beside the latest other figures.

        Args:
            own: Counters and gauges of programs' own, see `own_metrics`.

        Raises:
            OrchwatchError: The store's files cannot be read.
        """
        now_ns = self._now_ns()
        taken = self._snapshot(now_ns, own)
        figures = {
            **{reading.id: reading.p95_s for reading in taken.operations},
            **{reading.id: reading.value for reading in taken.levels},
        }
        return Status(
            at_ns=now_ns,
            window_s=self._window_s,
            snapshot=taken,
            system=self._system,
            business=self._business,
            health=health.judged(self._targets, self._rules, figures),
            alerts=tuple(health.alerts(self._targets, figures)),
        )

    @abstractmethod
    def _recorders(self, since_ns: int) -> Mapping[str, Iterable[psutil.Process]]: ...

    @abstractmethod
    def _kpis(self, unfinished: Iterable[Interval]) -> Kpis: ...

    def _phases(self) -> Spent | None:
        return None

    @abstractmethod
    def _snapshot(self, now_ns: int, own: Mapping[str, Metric] | None) -> Snapshot: ...

    def _now_ns(self) -> int:
        until_ns = self._within.until_ns
        return time.time_ns() if until_ns is None else until_ns

    def _since_ns(self, now_ns: int) -> int | None:
        if self._within.since_ns is not None:
            return self._within.since_ns
        return None if self._window_s is None else max(0, now_ns - int(self._window_s * _NS))


class Gatherer(GathererBase):
    """Asks the store each time; held by a command for one look.

    Args:
        home: The home directory.
        store: Its store.
        project: Where coverage and state files are looked for.
        window_s: How far back spans are taken into account; None for all.
        within: Filters; a start or an end of its own takes precedence over the window's.
        refresh: Whether what was written meanwhile is taken in; not for one look at a store that
            was opened for it.
    """

    def __init__(
        self,
        home: Path,
        store: Store | SmallStore,
        project: Path,
        window_s: float | None = kpis.WINDOW_S,
        *,
        within: Selection = ALL,
        refresh: bool = True,
    ) -> None:
        super().__init__(home, project, window_s, within=within)
        self._store = store
        self._refresh = refresh

    def _recorders(self, since_ns: int) -> Mapping[str, Iterable[psutil.Process]]:
        return probes.recorders(self._store, since_ns=since_ns)

    def _kpis(self, unfinished: Iterable[Interval]) -> Kpis:
        if self._refresh and not isinstance(self._store, SmallStore):
            self._store.refresh()
        now_ns = self._now_ns()
        return kpis.measure(
            self._store,
            now_ns=now_ns,
            since_ns=self._since_ns(now_ns),
            unfinished=unfinished,
            selection=self._within,
        )

    def _phases(self) -> Spent | None:
        now_ns = self._now_ns()
        window = replace(self._within, since_ns=self._since_ns(now_ns), until_ns=now_ns)
        return time_spent.latest(self._store, window)

    def _snapshot(self, now_ns: int, own: Mapping[str, Metric] | None) -> Snapshot:
        return snapshot.take(
            self._home,
            selection=replace(self._within, since_ns=self._since_ns(now_ns)),
            store=self._store,
            targets=self._targets,
            measured=self.levels(),
            samples=samples(self._business),
            own=own,
            refresh=self._refresh,
        )


def levels(system: System, business: Business) -> dict[str, float]:
    """The levels of the table among the figures; what was not measured is left out."""
    computed = business.kpis
    values = {
        "session.memory": max(system.session_memory_bytes.values(), default=None),
        "agent.utilization": computed.agent_utilization,
        "parallel.execution": computed.parallel_ratio,
        "task.success": computed.success_ratio,
        "task.errors": computed.error_ratio,
        "task.throughput": computed.tasks_per_hour,
        project.TEST_COVERAGE: business.value(project.TEST_COVERAGE),
        project.CODE_QUALITY: business.value(project.CODE_QUALITY),
    }
    return {level: value for level, value in values.items() if value is not None}


def samples(business: Business) -> dict[str, Sample]:
    """What the levels that are shares of tasks, or of agents' time, rest on."""
    counts = {
        "task.success": (business.kpis.tasks, "task"),
        "task.errors": (business.kpis.tasks, "task"),
        "agent.utilization": (business.kpis.agents, "agent"),
        "parallel.execution": (business.kpis.agents, "agent"),
    }
    return {level: Sample(count, noun) for level, (count, noun) in counts.items() if count}


def kpi_values(system: System, business: Business) -> dict[str, float | None]:
    """Every key figure by its name; None where it was not measured."""
    return {
        **asdict(business.kpis),
        "test_coverage": business.value(project.TEST_COVERAGE),
        "code_quality": business.value(project.CODE_QUALITY),
        "documentation_coverage": business.value(project.DOCUMENTATION_COVERAGE),
        "session_memory_bytes": max(system.session_memory_bytes.values(), default=None),
        "storage_bytes": system.storage_bytes,
    }
