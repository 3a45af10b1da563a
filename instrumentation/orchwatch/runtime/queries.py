"""Questions to a session's state, asked in JSONPath (RFC 9535)."""

from __future__ import annotations

import threading
import time
import weakref
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from orchwatch import semconv
from orchwatch.recording.metrics import count, gauge
from orchwatch.recording.operation import operation
from orchwatch.runtime import query_plans, query_steps, settings
from orchwatch.runtime.query_indexes import Indexes
from orchwatch.runtime.query_plans import Plan, QueryError
from orchwatch.runtime.session_state import SessionStateManager
from orchwatch.runtime.state_cache import CacheStatistics, StateCache, copied, size
from orchwatch.runtime.state_mirror import Mirror

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchwatch.runtime.query_steps import Nodes

__all__ = ["Explanation", "QueryAPI", "QueryError"]

PATH_ATTRIBUTE_CHARACTERS = 120
_COMPILED_QUERIES = 256
# The statistics become metrics at most so often: a line in the spool costs more than most queries.
_REPORT_INTERVAL_S = 1.0


_compiled = lru_cache(maxsize=_COMPILED_QUERIES)(Plan)


class Holder(Protocol):
    """What has a document in memory that its owner changes in place."""

    @property
    def document(self) -> Any: ...


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """How a query was answered.

    Attributes:
        path: The query.
        plan: `cache`: its result was kept; `index` or `names`: an index had the values; `walk`: the
            compiled path was walked; `library`: the library answered.
        index: What was indexed, as a path; empty for other plans.
        examined: How many values were looked at; None where the library does not say.
        results: How many values it selects.
        took_s: How long it took, without what explaining takes.
    """

    path: str
    plan: str
    index: str
    examined: int | None
    results: int
    took_s: float


class _Answer(NamedTuple):
    nodes: Nodes
    plan: str
    used: str = ""
    examined: int | None = None


class QueryAPI:
    """Answers JSONPath queries on a session's state, as any process has left it.

    It keeps the state in memory, and follows what is written by reading the members that were.
    Filters for equality that come back (`[?@.status == 'active']`) and searches at any depth
    (`..name`) are answered by indexes, and results are kept until what they depend on is written.
    Threads may share it.

    Args:
        state: The session's state, or what holds a document in memory; that one is walked afresh
            by every query, and the values are not copies.
        cache_bytes: What the kept results may take; 0 keeps none. By default as the settings say.
        optimise: Whether there are indexes.
    """

    def __init__(
        self,
        state: SessionStateManager | Holder,
        *,
        cache_bytes: int | None = None,
        optimise: bool = True,
    ) -> None:
        self._state = state
        self._mirror = Mirror(state) if isinstance(state, SessionStateManager) else None
        if cache_bytes is None:
            cache_bytes = settings.current().cache_bytes
        self._cache = StateCache(cache_bytes)
        self._indexes = Indexes() if optimise else None
        self._lock = threading.RLock()
        self._reporter = _Reporter()
        weakref.finalize(self, self._reporter.report_last)

    @property
    def cache(self) -> CacheStatistics:
        """What the cache of results did so far."""
        with self._lock:
            return self._cache.statistics

    @property
    def size_bytes(self) -> int:
        """What the kept results take; with `trim`, what a memory manager asks of a cache."""
        return self.cache.size_bytes

    def trim(self, size_bytes: int) -> None:
        """Let go of the results that were used longest ago, until no more than this is kept."""
        with self._lock:
            self._cache.trim(size_bytes)

    def query(self, path: str) -> list[Any]:
        """The values that `path` selects, in the order of the document; the caller's to change.

        Raises:
            QueryError: `path` is not JSONPath, or too deep to be answered.
            StateError: The state cannot be read.
        """
        with _operation(path) as op:
            (values,) = self._values([_plan(path)])
            op.set_attribute(semconv.RESULT_COUNT, len(values))
            return values

    def bulk_query(self, paths: Iterable[str]) -> dict[str, list[Any]]:
        """The values of several paths, by path, all of one moment.

        Raises:
            QueryError, StateError: As `query`; then none is answered.
        """
        wanted = list(dict.fromkeys(paths))
        with _operation(" ".join(map(str, wanted))) as op:
            found = self._values([_plan(path) for path in wanted])
            op.set_attribute(semconv.RESULT_COUNT, sum(map(len, found)))
            return dict(zip(wanted, found, strict=True))

    def explain(self, path: str) -> Explanation:
        """Answer a query, and say how that was done.

        Raises:
            QueryError, StateError: As `query`.
        """
        plan = _plan(path)
        with nullcontext() if self._apart else self._lock:
            started = time.perf_counter()
            document = self._current()
            answer = self._select(plan, document)
            took_s = time.perf_counter() - started
            examined = answer.examined
            if answer.plan == "walk":
                examined = query_steps.examined(plan.steps or (), [document])
        return Explanation(
            path=path,
            plan=answer.plan,
            index=answer.used,
            examined=examined,
            results=len(answer.nodes),
            took_s=took_s,
        )

    def _values(self, plans: list[Plan]) -> list[list[Any]]:
        if self._apart:
            # Without the lock: who holds it may wait for the transaction that this thread is in.
            document = self._state.document
            return [plan.select(document) for plan in plans]
        with self._lock:
            document = self._current()
            values = [self._kept(plan, self._select(plan, document)) for plan in plans]
            self._reporter.report(self._cache.statistics)
            return values

    def _current(self) -> Any:
        """The document as it is now; what was kept of members that changed is known as old."""
        if self._mirror is None or self._apart:
            return self._state.document
        written = self._mirror.follow()
        if written:
            self._cache.invalidate(written, self._mirror.version)
            if self._indexes is not None:
                self._indexes.invalidate(written)
        return self._mirror.document

    @property
    def _apart(self) -> bool:
        """Whether nothing may be kept: the document can change unseen, or be taken back."""
        return not isinstance(self._state, SessionStateManager) or self._state.in_transaction

    def _select(self, plan: Plan, document: Any) -> _Answer:
        walked = "library" if plan.steps is None else "walk"
        if self._apart:
            return _Answer(plan.select(document), walked)
        kept = self._cache.get(plan.path)
        if kept is not None:
            return _Answer(kept, "cache", examined=0)
        found = None if self._indexes is None else self._indexes.find(plan, document)
        if found is None:
            return _Answer(plan.select(document), walked)
        kind = "index" if plan.search is None else "names"
        nodes = query_steps.walk(plan.rest, found.nodes)
        examined = found.examined + query_steps.examined(plan.rest, found.nodes)
        return _Answer(nodes, kind, found.used, examined)

    def _kept(self, plan: Plan, answer: _Answer) -> list[Any]:
        """The values for the caller. Copies: what is kept must not change with what is given."""
        try:
            if answer.plan != "cache" and self._cache.max_bytes and self._mirror is not None:
                self._cache.put(
                    plan.path,
                    answer.nodes,
                    reads=plan.reads,
                    version=self._mirror.version,
                    size_bytes=size(answer.nodes),
                )
            return copied(answer.nodes)
        except RecursionError:
            shown = query_plans.shown(plan.path)
            raise QueryError(f"{shown} cannot be answered: its values are too deep") from None


class _Reporter:
    """Makes metrics of what a cache did since the last report."""

    def __init__(self) -> None:
        self._reported = self._latest = CacheStatistics()
        self._next_s = 0.0

    def report(self, statistics: CacheStatistics) -> None:
        self._latest = statistics
        if time.monotonic() >= self._next_s:
            self.report_last()

    def report_last(self) -> None:
        before, latest = self._reported, self._latest
        for name, value in (
            (semconv.STATE_CACHE_HITS, latest.hits - before.hits),
            (semconv.STATE_CACHE_MISSES, latest.misses - before.misses),
            (semconv.STATE_CACHE_EVICTIONS, latest.evictions - before.evictions),
        ):
            if value:
                count(name, value, unit="{result}")
        if latest.size_bytes != before.size_bytes:
            gauge(semconv.STATE_CACHE_SIZE, latest.size_bytes, unit="By")
        self._reported = latest
        self._next_s = time.monotonic() + _REPORT_INTERVAL_S


def _plan(path: str) -> Plan:
    """From memory where the same was asked lately."""
    return _compiled(path) if isinstance(path, str) else Plan(path)


def _operation(path: str) -> operation:
    shown = str(path)[:PATH_ATTRIBUTE_CHARACTERS]
    return operation(semconv.STATE_QUERY, {semconv.STATE_PATH: shown})
