"""What a dashboard shows, read from the store: every figure as `current` and `kpi` compute it.

All of it runs in a thread of its own, so that keys are answered while the store is asked.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from orchwatch import semconv
from orchwatch.analysis import at_work, history, listing, time_spent
from orchwatch.analysis.status import BUSINESS_INTERVAL_S, Gatherer
from orchwatch.errors import OrchwatchError
from orchwatch.recording.operation import operation
from orchwatch.store import outlines, own_metrics, slowest
from orchwatch.store.database import Store
from orchwatch.targets import target_table
from orchwatch.tui import views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from orchwatch.analysis.at_work import Seen
    from orchwatch.analysis.history import History, Trend
    from orchwatch.analysis.listing import Group
    from orchwatch.analysis.probes import Tree
    from orchwatch.analysis.status import Status
    from orchwatch.store.slowest import SlowTrace
    from orchwatch.tui.question import Choose, Question

TRACES = 50
"""How many traces a list shows."""

SYSTEM_S = 5.0
"""How often processes are looked at: reading what each takes is most of a quiet refresh."""

# What takes long is measured again when that is less than this share of the time, and at least as
# often as the requirements have business figures; of several such parts one a look, whichever
# has been due for longest.
_SHARE = 0.01
_INTERRUPTED = "interrupted"
_T = TypeVar("_T")


@dataclass(frozen=True)
class _Part:
    """A part of a look that is kept for a while: of which question, from when, until when."""

    question: Question
    at_s: float
    until_s: float
    value: Any


@dataclass(frozen=True, kw_only=True)
class Look:
    """Everything at one moment.

    Attributes:
        status: Operations, levels, key figures, health and alerts.
        words: What is looked at, in words; empty for all.
        note: A sentence where another window than the default is looked at.
        history: How durations developed.
        trends: Where each operation's p95 goes; None where that is not known.
        seen: Who is at work.
        trees: What the processes of each session take, by its id.
        of_pid: The same of an agent that has a process of its own.
        traces: The latest, the dashboard's own refreshes left out.
        of_all: How many traces there are.
        live: Whether it is about this machine now.
    """

    status: Status
    words: str
    note: str | None
    history: History
    trends: Mapping[str, Trend | None]
    seen: Seen
    trees: Mapping[str, Tree]
    of_pid: Mapping[int, Tree]
    traces: tuple[Group, ...]
    of_all: int
    live: bool

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is stored."""
        taken = self.status.snapshot
        return not taken.outside and not any(reading.count for reading in taken.operations)


class Looker:
    """Asks a home's store; its methods are called from one thread, but for `interrupt`.

    Args:
        home: The home directory.
        project: Where coverage and state files are looked for.
        choose: Finds out what a question selects.
        say: Called with a sentence before what takes long.
        live: Whether it is about this machine now, and not about what was packed elsewhere.
    """

    def __init__(
        self,
        home: Path,
        project: Path,
        choose: Choose,
        say: Callable[[str], None],
        *,
        live: bool = True,
    ) -> None:
        self._live = live
        self._home = home
        self._project = project
        self._choose = choose
        self._say = say
        self._store: Store | None = None
        self._gatherer: Gatherer | None = None
        self._least_noise = target_table.comparison().least_noise
        self._system_s = 0.0
        self._parts: dict[str, _Part] = {}
        self._turn: str | None = None
        self._seen_bytes = -1
        self._news_s = 0.0

    def has_news(self) -> bool:
        """Whether a look would show what was written since, its own line left out."""
        if self._spool_bytes() != self._seen_bytes:
            return True
        now_s = time.monotonic()
        return any(
            part.at_s < self._news_s and part.until_s <= now_s for part in self._parts.values()
        )

    @contextmanager
    def refreshing(self) -> Iterator[None]:
        """Around a refresh, which is an operation like any other, and whose own line is no news."""
        ended: BaseException | None = None
        with operation(semconv.DASHBOARD_REFRESH) as refresh:
            try:
                yield
            except asyncio.CancelledError as cancelled:
                # The dashboard was left meanwhile: no failure.
                refresh.set_attribute(semconv.OUTCOME, semconv.CANCELLED)
                ended = cancelled
            before = self._spool_bytes()
        self._seen_bytes += self._spool_bytes() - before
        if ended is not None:
            raise ended

    def look(self, question: Question, *, anew: bool = False) -> Look:
        """Takes in what was written since, and measures.

        Args:
            question: What to look at.
            anew: Whether key figures, traces and history are measured again in any case: else those
                of a large store are up to a minute old.

        Raises:
            OrchwatchError: The store's files cannot be read, or a filter matches nothing.
        """
        with _interruptible():
            now_s = time.monotonic()
            written = self._spool_bytes()
            if written != self._seen_bytes:
                self._seen_bytes, self._news_s = written, now_s
            store, gatherer = self._opened()
            chosen = self._choose(question, store)
            selection = chosen.selection
            gatherer.look_at(selection)
            if self._live and (not self._system_s or now_s - self._system_s >= SYSTEM_S):
                gatherer.measure_system()
                self._system_s = now_s
            if anew:
                self._parts.clear()
            self._turn = self._longest_due()
            self._kept("business", question, gatherer.measure_business)
            own = {}
            if not selection.filters:  # they belong to no session, agent or operation
                window = {"since_ns": selection.since_ns, "until_ns": selection.until_ns}
                own = own_metrics.read(self._home, gatherer.targets.levels, **window)
            status = gatherer.take(own)
            developed = self._kept(
                "history",
                question,
                lambda: history.measure(store, selection, now_ns=status.at_ns),
            )
            seen = at_work.look(self._home) if self._live else at_work.Seen()
            theirs = replace(selection, without=semconv.DASHBOARD_REFRESH)
            traces, of_all = self._kept(
                "traces", question, lambda: listing.groups(store, "trace", theirs, TRACES)
            )
        pids = {one.pid for one in seen.agents if one.pid is not None}
        below = {pid: gatherer.tree_below(pid) for pid in pids}
        return Look(
            status=status,
            words=chosen.words,
            note=chosen.note,
            history=developed,
            trends={
                name: history.trend(column, self._least_noise)
                for name, column in developed.p95_s.items()
            },
            seen=seen,
            trees=status.system.session_trees,
            of_pid={pid: tree for pid, tree in below.items() if tree is not None},
            traces=tuple(traces),
            of_all=of_all,
            live=self._live,
        )

    def slowest(self, question: Question, name: str) -> list[SlowTrace]:
        """The traces with the slowest calls of the operation of that name.

        Raises:
            OrchwatchError: The store's files cannot be read.
        """
        with _interruptible():
            store, _ = self._opened(refresh=False)
            selection = self._choose(question, store).selection
            return slowest.traces(store, replace(selection, operation=name), TRACES)

    def drawn(self, trace_id: str, view: str, columns: int) -> str:
        """A trace in one of `views.VIEWS`.

        Raises:
            OrchwatchError: The store's files cannot be read, or do not hold it any more.
        """
        with _interruptible():
            store, _ = self._opened(refresh=False)
            spans = outlines.of_trace(store, trace_id)
            turns = time_spent.of_spans(store, spans).spent
        if not spans:
            raise OrchwatchError(f"no span of {trace_id} is stored any more")
        return views.drawn(view, spans, turns, columns)

    def values(self, question: Question, column: str) -> list[str]:
        """The sessions, agents or operations that are stored.

        Raises:
            OrchwatchError: The store's files cannot be read.
        """
        with _interruptible():
            store, _ = self._opened(refresh=False)
            selection = self._choose(replace(question, **{column: None}), store).selection
            return listing.values(store, selection, column)

    def interrupt(self) -> None:
        """Ends a question that is being asked; from any thread."""
        if self._store is not None:
            self._store.interrupt()

    def close(self) -> None:
        """Frees the memory."""
        if self._store is not None:
            self._store.close()
            self._store = None

    def _opened(self, *, refresh: bool = True) -> tuple[Store, Gatherer]:
        if self._store is None or self._gatherer is None:
            self._store = Store(self._home, self._say)
            self._gatherer = Gatherer(self._home, self._store, self._project, None, refresh=False)
        elif refresh:
            self._store.refresh()
        return self._store, self._gatherer

    def _longest_due(self) -> str | None:
        """Which part is measured again in this look."""
        name = min(self._parts, key=lambda name: self._parts[name].until_s, default=None)
        return name if name and self._parts[name].until_s <= time.monotonic() else None

    def _kept(self, name: str, question: Question, measure: Callable[[], _T]) -> _T:
        """A part as it was measured before, unless it is its turn."""
        part = self._parts.get(name)
        if part is not None and part.question == question and name != self._turn:
            known: _T = part.value
            return known
        at_s = time.monotonic()
        worked_s = time.process_time()  # how busy the machine is otherwise is no matter
        value = measure()
        worked_s = time.process_time() - worked_s
        pause_s = min(worked_s / _SHARE, BUSINESS_INTERVAL_S)
        self._parts[name] = _Part(question, at_s, time.monotonic() + pause_s, value)
        return value

    def _spool_bytes(self) -> int:
        """How much was written, as far as the spool still holds it."""
        total = 0
        with suppress(OSError), os.scandir(self._home / "spool") as entries:
            for entry in entries:
                with suppress(OSError):
                    total += entry.stat(follow_symlinks=False).st_size
        return total


@contextmanager
def _interruptible() -> Iterator[None]:
    """A question that was interrupted is an error like another: nobody waits for the answer."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise OrchwatchError(_INTERRUPTED) from error
