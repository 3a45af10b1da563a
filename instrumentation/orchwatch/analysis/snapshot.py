"""One look at everything that has a target: immutable, ready to be shown."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from orchwatch.analysis import levels, storage
from orchwatch.store import spans
from orchwatch.store.own_metrics import PREFIX
from orchwatch.store.selection import ALL
from orchwatch.store.small import SmallStore
from orchwatch.targets import target_table as targets_table
from orchwatch.units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from orchwatch.analysis.time_spent import Spent
    from orchwatch.store.database import Store
    from orchwatch.store.own_metrics import Metric
    from orchwatch.store.selection import Selection
    from orchwatch.targets.target_table import Direction, Status, Targets

# CPU is measured from one look to the next, the first one from the import on.
_machine = levels.Machine()


@dataclass(frozen=True, kw_only=True)
class OperationReading:
    """An operation against its target. Durations are None where it never ran in the window.

    Attributes:
        id: The operation's name.
        title: What a person calls it.
        count: How often it ended in the window.
        errors: How many of those failed.
        p50_s: Median duration; this and the next two are nearest-rank, see `spans.Summary`.
        p95_s: 95th percentile.
        p99_s: 99th percentile.
        under_target: Share that took at most the target, 0 to 1; None without runs or target.
        target_s: The target; None where the table has none.
        status: The p95 against the target.
        error_status: The share that failed against the table's row for it, `error.rate`.
    """

    id: str
    title: str
    count: int
    errors: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    under_target: float | None
    target_s: float | None
    status: Status
    error_status: Status


OPERATION = "operation"


class Sample(NamedTuple):
    """How many tasks, operations or agents a share rests on.

    Attributes:
        number: How many.
        noun: Of what, in the singular.
    """

    number: int
    noun: str

    @property
    def words(self) -> str:
        """`3 tasks`, `63 with a target`: operations without one may fail beside those."""
        if self.noun == OPERATION:
            return f"{self.number} with a target"
        return counted(self.number, self.noun)


@dataclass(frozen=True, kw_only=True)
class LevelReading:
    """A level against its target.

    Attributes:
        id: Its name.
        title: What a person calls it.
        value: In `unit`; None where it was not measured.
        target: In `unit`.
        direction: Whether values `below` or `above` the target are good.
        unit: UCUM: `1` is a share from 0 to 1, `By` bytes.
        status: The value against the target.
        sample: What the value rests on, for a reader to judge one of few; None where it is no share
            of things that can be counted.
    """

    id: str
    title: str
    value: float | None
    target: float
    direction: Direction
    unit: str
    status: Status
    sample: Sample | None = None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What was measured.

    Attributes:
        as_of: When it was taken, UTC, or where the window ends.
        since: Operations that ended then or later are counted; None for all.
        operations: Every row of the table, then operations without a target that occurred.
        levels: Every row of the table.
        earlier: How many operations ended before the window.
        unreadable: How many lines and spans could not be read, by segment of the spool.
        later: How many operations ended after the window.
        metrics: Counters and gauges of programs' own that are no levels.
        elsewhere: Services that send over OTLP, so that their operations are not among these; see
            `orchwatch.recording.otlp_services`.
        ahead: How many operations are dated in the future, which no window holds.
        phases: Where the time of the latest turns went; None where there are none.
    """

    as_of: datetime
    since: datetime | None
    operations: tuple[OperationReading, ...]
    levels: tuple[LevelReading, ...]
    earlier: int
    unreadable: Mapping[str, int]
    later: int = 0
    metrics: tuple[Metric, ...] = ()
    elsewhere: tuple[Mapping[str, Any], ...] = ()
    ahead: int = 0
    phases: Spent | None = None

    @property
    def outside(self) -> int:
        """How many operations ended before or after the window."""
        return self.earlier + self.later


def take(
    home: Path,
    *,
    selection: Selection = ALL,
    store: Store | SmallStore | None = None,
    targets: Targets | None = None,
    measured: Mapping[str, float] | None = None,
    samples: Mapping[str, Sample] | None = None,
    own: Mapping[str, Metric] | None = None,
    refresh: bool = True,
) -> Snapshot:
    """Looks at a home directory; one that does not exist has measured nothing, which is no error.

    Args:
        home: The directory, see `orchwatch.recording.home`.
        selection: Which operations count; where it ends, or filters, only they are looked at, not
            the machine.
        store: The home's store, held open by a caller that looks again and again.
        targets: The table; by default it is loaded.
        measured: Levels by id that the caller knows, see `orchwatch.analysis.status`.
        samples: What these rest on, likewise.
        own: Counters and gauges of programs' own, see `own_metrics`.
        refresh: Whether the caller's store takes in what was written since it last did.

    Raises:
        OrchwatchError: The table breaks a rule, or the store cannot be read.
    """
    targets = targets or targets_table.load()
    with ExitStack() as stack:
        if store is None:
            store = stack.enter_context(_opened(home))
        elif refresh and not isinstance(store, SmallStore):
            store.refresh()
        as_of = datetime.now(UTC)
        summaries = spans.summaries(
            store,
            selection,
            targets_s={row.id: row.target_s for row in targets.operations.values()},
        )
        outside = spans.outside(store, selection)
        unreadable = store.unreadable()
    return of(
        home,
        targets,
        summaries,
        selection=selection,
        as_of=as_of,
        outside=outside,
        unreadable=unreadable,
        measured=measured,
        samples=samples,
        own=own,
    )


def of(
    home: Path,
    targets: Targets,
    summaries: Sequence[spans.Summary],
    *,
    selection: Selection,
    as_of: datetime,
    outside: spans.OutsideWindow | None,
    unreadable: Mapping[str, int],
    measured: Mapping[str, float] | None = None,
    samples: Mapping[str, Sample] | None = None,
    own: Mapping[str, Metric] | None = None,
) -> Snapshot:
    """The same where the operations are known already; see `Snapshot` and `take`."""
    known = targets.operations
    of_levels = [
        (row.id, row, (own or {})[PREFIX + row.id])
        for row in targets.levels.values()
        if PREFIX + row.id in (own or {})
    ]
    shares = levels.of_operations(summaries, known)
    values: dict[str, float | None] = {
        **shares,
        **{row_id: metric.worst(row.direction) for row_id, row, metric in of_levels},
        **(measured or {}),
    }
    if not selection.filters and selection.until_ns is None:
        values |= {
            "storage.growth": storage.growth_bytes(home, int(as_of.timestamp() * 1e9)),
            "cpu.utilization": _machine.cpu_utilization(),
            "memory.utilization": _machine.memory_utilization(),
        }
    ended = Sample(
        sum(summary.count for summary in summaries if summary.operation in known), OPERATION
    )
    return Snapshot(
        as_of=as_of if selection.until_ns is None else _moment(selection.until_ns),
        since=None if selection.since_ns is None else _moment(selection.since_ns),
        operations=_operations(targets, {summary.operation: summary for summary in summaries}),
        levels=_levels(targets, values, {**dict.fromkeys(shares, ended), **(samples or {})}),
        earlier=outside.earlier if outside else 0,
        later=outside.later if outside and selection.until_ns is not None else 0,
        ahead=outside.later if outside and selection.until_ns is None else 0,
        unreadable=unreadable,
        metrics=tuple(
            metric for name, metric in (own or {}).items() if name[len(PREFIX) :] not in values
        ),
    )


@contextmanager
def _opened(home: Path) -> Iterator[Store]:
    from orchwatch.store.database import Store  # noqa: PLC0415 - DuckDB is slow to import

    with Store(home) as store:
        yield store


def _moment(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns / 1e9, UTC)


def _operations(
    targets: Targets, summaries: dict[str, spans.Summary]
) -> tuple[OperationReading, ...]:
    readings = []
    error_row = targets.levels["error.rate"]
    for name in [
        *targets.operations,
        *(name for name in summaries if name not in targets.operations),
    ]:
        row = targets.operations.get(name)
        found = summaries.get(name)
        under = found.under_target if found else None
        readings.append(
            OperationReading(
                id=name,
                title=row.title if row else name,
                count=found.count if found else 0,
                errors=found.errors if found else 0,
                p50_s=found.p50_s if found else None,
                p95_s=found.p95_s if found else None,
                p99_s=found.p99_s if found else None,
                under_target=under / found.count if found and under is not None else None,
                target_s=row.target_s if row else None,
                status=row.status(found.p95_s if found else None) if row else "unknown",
                error_status=error_row.status(found.errors / found.count if found else None),
            )
        )
    return tuple(readings)


def _levels(
    targets: Targets, values: Mapping[str, float | None], samples: Mapping[str, Sample]
) -> tuple[LevelReading, ...]:
    return tuple(
        LevelReading(
            id=row.id,
            title=row.title,
            value=values.get(row.id),
            target=row.target,
            direction=row.direction,
            unit=row.unit,
            status=row.status(values.get(row.id)),
            sample=samples.get(row.id),
        )
        for row in targets.levels.values()
    )
