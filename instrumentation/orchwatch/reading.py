"""What was measured, for programs in Python: the names here stay, `docs/api.md` lists them.

```
with Reader() as reader:
    slow = [one for one in reader.snapshot().operations if one.status == "miss"]
```
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from orchwatch.analysis import kpis, listing, status
from orchwatch.errors import OrchwatchError
from orchwatch.recording.home import home as default_home
from orchwatch.store import spans
from orchwatch.store.database import Store
from orchwatch.store.published import Question
from orchwatch.store.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchwatch.analysis.snapshot import LevelReading, OperationReading

__all__ = [
    "Figures",
    "Level",
    "Operation",
    "Reader",
    "Snapshot",
    "Span",
    "Table",
    "Trace",
    "Within",
]

Status = Literal["ok", "warn", "miss", "unknown"]

_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_STATUS_ERROR = 2  # OTLP


@dataclass(frozen=True, kw_only=True)
class Within:
    """Which operations are looked at; what is None leaves out none.

    Attributes:
        since: Ended then or later; a length of time is so long before now.
        until: Ended then or earlier, likewise.
        session: A whole session id.
        agent: The name of an agent, or its id.
        service: The name of a service.
        operation: The name of an operation.
    """

    since: datetime | timedelta | None = None
    until: datetime | timedelta | None = None
    session: str | None = None
    agent: str | None = None
    service: str | None = None
    operation: str | None = None


ALL = Within()


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation against its target; durations are None where it never ended.

    Attributes:
        name: The operation's.
        count: How often it ended.
        errors: How many of those failed.
        p50_s: Median duration in seconds; this and the next two are nearest-rank.
        p95_s: 95th percentile.
        p99_s: 99th percentile.
        under_target: Share that took at most the target, 0 to 1; None without runs or target.
        target_s: The target; None where the table has none.
        status: The 95th percentile against the target.
    """

    name: str
    count: int
    errors: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    under_target: float | None
    target_s: float | None
    status: Status

    @property
    def error_ratio(self) -> float | None:
        """Share that failed, 0 to 1; None where it never ended."""
        return self.errors / self.count if self.count else None


@dataclass(frozen=True, kw_only=True)
class Level:
    """A level against its target.

    Attributes:
        name: The level's, e.g. `task.success`.
        value: In `unit`; None where it was not measured.
        target: In `unit`.
        unit: UCUM: `1` is a share from 0 to 1, `By` bytes.
        status: The value against the target.
    """

    name: str
    value: float | None
    target: float
    unit: str
    status: Status


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Everything that has a target, as `orchwatch current` shows it.

    Attributes:
        as_of: When it was taken, or where its window ends; UTC.
        since: Where the window begins; None for all.
        operations: Those of the table, then others that occurred.
        levels: Those of the table.
        unreadable: How many lines and spans could not be read.
    """

    as_of: datetime
    since: datetime | None
    operations: tuple[Operation, ...]
    levels: tuple[Level, ...]
    unreadable: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Key figures, as `orchwatch kpi list` shows them; None where there is nothing to compute from.

    Attributes:
        active_agents: Agents that were busy within the last 60 seconds.
        tasks_per_hour: Tasks that ended without an error in the last hour.
        success_ratio: Share of the tasks that ended without an error, 0 to 1, as all below.
        error_ratio: The rest.
        agent_utilization: Busy time over available time, of all agents.
        parallel_ratio: Time with two or more agents busy over time with any.
        efficiency_ratio: Busy time outside of failed spans over available time.
        tasks: How many tasks the shares are taken of.
        agents: How many agents the shares of time are taken of.
    """

    active_agents: int | None
    tasks_per_hour: float | None
    success_ratio: float | None
    error_ratio: float | None
    agent_utilization: float | None
    parallel_ratio: float | None
    efficiency_ratio: float | None
    tasks: int | None
    agents: int | None


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A trace in the list.

    Attributes:
        trace_id: 32 hexadecimal digits.
        name: Of its first span.
        session_id: Its session; None where no operation names one.
        started: When its first operation began, UTC.
        duration_s: From there to the last end, in seconds.
        operations: How many it holds.
        errors: How many of those failed.
    """

    trace_id: str
    name: str
    session_id: str | None
    started: datetime
    duration_s: float
    operations: int
    errors: int


@dataclass(frozen=True, kw_only=True)
class Span:
    """A span of a trace.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 of them.
        parent_span_id: Of the span that called it; None for none.
        name: As it was given.
        operation: The operation's name; None where it is none.
        started: When it began, UTC.
        duration_s: How long it took, in seconds.
        failed: Whether it did.
        error_type: Why; None where it did not.
        service: The service that recorded it.
        session_id: Its session.
        agent: The name of its agent.
        attributes: What else it carries.
    """

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    operation: str | None
    started: datetime
    duration_s: float
    failed: bool
    error_type: str | None
    service: str | None
    session_id: str | None
    agent: str | None
    attributes: Mapping[str, Any] = field(default_factory=dict)


class Table:
    """The answer to a question in SQL; each method asks anew.

    Attributes:
        columns: Their names.
    """

    def __init__(self, question: Question) -> None:
        self._question = question
        self.columns: tuple[str, ...] = question.columns()

    def rows(self) -> list[tuple[Any, ...]]:
        """As tuples; times are naive, and UTC."""
        return self._question.answer().rows

    def arrow(self) -> Any:
        """As a `pyarrow.Table`.

        Raises:
            OrchwatchError: pyarrow is not installed.
        """
        return self._question.arrow()

    def pandas(self) -> Any:
        """As a `pandas.DataFrame`.

        Raises:
            OrchwatchError: pandas is not installed.
        """
        return self._question.pandas()


class Reader:
    """Reads what a home directory holds; not for several threads at once.

    Each question sees what was written by then. Imported history counts at its own time.

    Args:
        home: The home directory, by default `ORCHWATCH_HOME`'s; it need not exist.

    Raises:
        OrchwatchError: Its files cannot be read, here and in every method.
    """

    def __init__(self, home: str | Path | None = None) -> None:
        self._home = Path(default_home() if home is None else home)
        self._store = Store(self._home)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the memory."""
        self._store.close()

    def snapshot(self, within: Within = ALL) -> Snapshot:
        """Everything that has a target; levels of the machine only where nothing filters."""
        gatherer = status.Gatherer(
            self._home, self._store, Path.cwd(), None, within=_selection(within)
        )
        gatherer.measure_system()
        gatherer.measure_business()
        taken = gatherer.take().snapshot
        return Snapshot(
            as_of=taken.as_of,
            since=taken.since,
            operations=tuple(map(_operation, taken.operations)),
            levels=tuple(map(_level, taken.levels)),
            unreadable=sum(taken.unreadable.values()),
        )

    def operations(self, within: Within = ALL) -> tuple[Operation, ...]:
        """Those that ended, without the rest of the snapshot."""
        return tuple(one for one in self.snapshot(within).operations if one.count)

    def figures(self, within: Within = ALL) -> Figures:
        """The key figures that spans tell."""
        self._store.refresh()
        selection = _selection(within)
        found = kpis.measure(
            self._store,
            now_ns=_now_ns() if selection.until_ns is None else selection.until_ns,
            since_ns=selection.since_ns,
            selection=selection,
        )
        return Figures(**vars(found))

    def traces(self, within: Within = ALL, *, limit: int = 20) -> tuple[Trace, ...]:
        """The latest traces, the last one first.

        Args:
            within: Which.
            limit: How many at most; 0 for all.
        """
        self._store.refresh()
        found, _ = listing.groups(
            self._store, "trace", _selection(within), limit or listing.ENDLESS
        )
        return tuple(map(_trace, found))

    def trace(self, trace_id: str) -> tuple[Span, ...]:
        """The spans of a trace, by start.

        Raises:
            OrchwatchError: No span of that id is stored.
        """
        self._store.refresh()
        found = spans.trace(self._store, trace_id)
        if not found:
            raise OrchwatchError(f"no span of trace {trace_id} is stored in {self._home}")
        return tuple(map(_span, found))

    def table(self, sql: str) -> Table:
        """The answer to one SELECT; docs/sql.md has the views.

        Raises:
            UsageError: It is no SELECT, or asks for what is not there.
        """
        self._store.refresh()
        return Table(Question(self._store, sql))


def _selection(within: Within) -> Selection:
    return Selection(
        since_ns=_moment_ns(within.since),
        until_ns=_moment_ns(within.until),
        session_id=within.session,
        agent=within.agent,
        service=within.service,
        operation=within.operation,
        history=True,
    )


def _now_ns() -> int:
    return (datetime.now(UTC) - _EPOCH) // _MICROSECOND * 1000


def _moment_ns(when: datetime | timedelta | None) -> int | None:
    """A time without a zone is local, as on the command line."""
    if when is None:
        return None
    if isinstance(when, timedelta):
        return _now_ns() - when // _MICROSECOND * 1000
    return (when.astimezone(UTC) - _EPOCH) // _MICROSECOND * 1000


def _moment(time_ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=time_ns // 1000)


def _operation(reading: OperationReading) -> Operation:
    return Operation(
        name=reading.id,
        count=reading.count,
        errors=reading.errors,
        p50_s=reading.p50_s,
        p95_s=reading.p95_s,
        p99_s=reading.p99_s,
        under_target=reading.under_target,
        target_s=reading.target_s,
        status=reading.status,
    )


def _level(reading: LevelReading) -> Level:
    return Level(
        name=reading.id,
        value=reading.value,
        target=reading.target,
        unit=reading.unit,
        status=reading.status,
    )


def _trace(group: listing.Group) -> Trace:
    return Trace(
        trace_id=group.id,
        name=group.name or "",
        session_id=group.session_id,
        started=_moment(group.start_ns),
        duration_s=(group.end_ns - group.start_ns) / _NS,
        operations=group.operations,
        errors=group.errors,
    )


def _span(span: spans.Span) -> Span:
    return Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        name=span.name,
        operation=span.operation,
        started=_moment(span.start_ns),
        duration_s=span.duration_ns / _NS,
        failed=span.status == _STATUS_ERROR,
        error_type=span.error_type,
        service=span.service,
        session_id=span.session_id,
        agent=span.agent,
        attributes=span.attributes,
    )
