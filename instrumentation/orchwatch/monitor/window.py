"""The last hour's operations as figures: what `analysis.kpis` and `spans` compute from the store.

Kept up with each operation that ends, in memory that does not grow with how many there are.
"""

from __future__ import annotations

import os
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

from orchwatch import semconv
from orchwatch.analysis import intervals, kpis
from orchwatch.analysis.busy import Interval
from orchwatch.monitor.agents import Agents
from orchwatch.monitor.durations import SLOT_NS, Durations
from orchwatch.store.spans import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchwatch.analysis.busy import Kind
    from orchwatch.monitor.ended_operations import EndedOperation
    from orchwatch.targets.target_table import Targets

# Tool calls, of which it is known only later whose they were and whether they were waiting.
_MAX_CALLS = 5_000
_MAX_CALLERS = 10_000
_MAX_RECORDERS = 5_000
# A clock that is ahead by more is not this hour's.
_AHEAD_NS = 60 * 1_000_000_000

_Value = TypeVar("_Value")

_LEADERS = (semconv.AGENT_TURN, semconv.AGENT_RUN, semconv.AGENT_TASK)


class Window:
    """The window up to now.

    Args:
        table: The table of targets; what is within them is counted exactly.
        length_ns: How far it reaches back.

    Attributes:
        durations: How often each operation ended, and how long it took.
        since_ns: Where it begins, Unix nanoseconds; 0 before it has moved.
    """

    def __init__(self, table: Targets, length_ns: int) -> None:
        self.durations = Durations(table)
        self._length_ns = length_ns
        self.since_ns = 0
        self._agents = Agents()
        self._calls: dict[str, EndedOperation] = {}
        # The agent that a span names: of the latest spans, and of those that a call has, or may
        # have, as its parent; empty while the parent has not ended.
        self._actors: dict[str, str] = {}
        self._callers: dict[str, str] = {}
        self._delegating: dict[str, None] = {}  # calls that a run has as its parent
        self._tasks: dict[int, list[int]] = {}
        self._recorders: dict[tuple[str, str], int] = {}
        self._host = os.uname().nodename

    def move_on(self, now_ns: int) -> None:
        """Drops what is before the window now."""
        self.since_ns = now_ns - self._length_ns
        self.durations.move_on(self.since_ns)
        self._agents.move_on(self.since_ns)
        first = self.since_ns // SLOT_NS
        self._tasks = {at: counts for at, counts in self._tasks.items() if at >= first}
        for key in [key for key, call in self._calls.items() if call.end_ns < self.since_ns]:
            del self._calls[key]
        for who in [who for who, end_ns in self._recorders.items() if end_ns < self.since_ns]:
            del self._recorders[who]

    def add(self, ended: EndedOperation, now_ns: int) -> None:
        """Adds an operation."""
        if ended.end_ns > now_ns + _AHEAD_NS:
            return
        self.durations.add(ended)
        if ended.end_ns < self.since_ns:
            return
        operation, session_id, agent = ended.operation, ended.session_id, ended.agent
        if session_id is not None and ended.pid is not None:
            self._remember_recorder(ended, session_id, ended.pid)
        if operation in _LEADERS:
            self._count_task(ended)
        if agent == intervals.HELPER:
            return
        if agent is not None or (session_id is not None and operation in intervals.OF_MAIN):
            self._act(ended)

    def kpis(self, now_ns: int, unfinished: Iterable[Interval] = ()) -> kpis.Kpis:
        """The key figures; see `analysis.kpis.measure`."""
        since_ns = self.since_ns
        going_on = (
            one._replace(start_ns=max(one.start_ns, since_ns), end_ns=now_ns) for one in unfinished
        )
        calls = chain.from_iterable(map(self._of_call, self._calls.values()))
        times = self._agents.times(
            chain(calls, going_on), since_ns=since_ns, active_ns=now_ns - kpis.ACTIVE_NS
        )
        hour_ns = max(since_ns, now_ns - kpis.HOUR_S * NS_PER_S)
        tasks = kpis.Tasks(
            number=sum(number for number, _ in self._tasks.values()),
            failed=sum(failed for _, failed in self._tasks.values()),
            recent=sum(
                number - failed
                for at, (number, failed) in self._tasks.items()
                if at >= hour_ns // SLOT_NS
            ),
        )
        return kpis.of(times, tasks, hour_ns=now_ns - hour_ns)

    def recorders(self) -> Iterator[tuple[str, int, int]]:
        """Session, process on this host that recorded spans of it, and when the last one ended."""
        for (session_id, pid), end_ns in self._recorders.items():
            if pid.isascii() and pid.isdecimal():
                yield session_id, int(pid), end_ns

    def _act(self, ended: EndedOperation) -> None:
        operation, span_id = ended.operation, ended.span_id
        who = _who(ended)
        if who:
            # Usually a parent ends after its children; one that leads others stays known longer.
            known = operation in _LEADERS or span_id in self._callers
            _remember(self._callers if known else self._actors, span_id, who, _MAX_CALLERS)
        if operation == semconv.AGENT_RUN and ended.parent_span_id is not None:
            _remember(self._delegating, ended.parent_span_id, None, _MAX_CALLERS)
        if operation != semconv.TOOL_EXECUTE:
            kind = intervals.KINDS.get(operation, "work")
            for interval in _intervals(ended, who, kind):
                self._agents.add(interval, self.since_ns)
            return
        parent = ended.parent_span_id
        if not who and parent is not None and parent not in self._callers:
            _remember(self._callers, parent, self._actors.get(parent, ""), _MAX_CALLERS)
        self._calls[span_id] = ended
        if len(self._calls) > _MAX_CALLS:
            for key in _oldest(self._calls):
                for interval in self._of_call(self._calls.pop(key)):
                    self._agents.add(interval, self.since_ns)

    def _of_call(self, call: EndedOperation) -> Iterator[Interval]:
        who = _who(call) or self._callers.get(call.parent_span_id or "", "")
        return _intervals(call, who, "waiting" if call.span_id in self._delegating else "work")

    def _count_task(self, ended: EndedOperation) -> None:
        if ended.operation == semconv.AGENT_TURN:
            if ended.agent is not None or ended.agent_id is not None:
                return
        elif ended.operation == semconv.AGENT_RUN and ended.agent == intervals.HELPER:
            return
        counts = self._tasks.setdefault(ended.end_ns // SLOT_NS, [0, 0])
        counts[0] += 1
        counts[1] += ended.failed

    def _remember_recorder(self, ended: EndedOperation, session_id: str, pid: str) -> None:
        if ended.host != self._host or ended.service == semconv.CLAUDE_CODE_SERVICE:
            return
        key = session_id, pid
        if len(self._recorders) < _MAX_RECORDERS or key in self._recorders:
            self._recorders[key] = max(self._recorders.get(key, 0), ended.end_ns)


def _who(ended: EndedOperation) -> str:
    return ended.agent_id or ended.agent or ""


def _intervals(ended: EndedOperation, who: str, kind: Kind) -> Iterator[Interval]:
    session_id, end_ns = ended.session_id or "", ended.end_ns
    if kind == "alive":
        yield Interval(session_id, who, kind, end_ns, end_ns)
        return
    start_ns = end_ns - ended.duration_ns
    yield Interval(session_id, who, kind, start_ns, end_ns)
    if ended.failed:
        yield Interval(session_id, who, "failed", start_ns, end_ns)


def _remember(known: dict[str, _Value], key: str, value: _Value, most: int) -> None:
    known[key] = value
    if len(known) > most:
        for one in _oldest(known):
            del known[one]


def _oldest(known: dict[str, _Value]) -> list[str]:
    """A tenth of the keys: to look for the first one passes all the holes that others have left."""
    return list(islice(known, len(known) // 10 + 1))
