"""When agents were busy within a window, in bounded memory; see `analysis.kpis` for the definition.

Time is divided into minutes. The intervals of a quiet minute are kept, so that its figures are
exact. A busy minute is sampled at a thousand moments, one in each 60 ms, at which the working
agents are recorded: over an hour a share is right to within half a percent (a standard error of
0.2 %) for one agent, and better for all together.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

from orchwatch.analysis import busy
from orchwatch.analysis.busy import Interval, Times

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orchwatch.analysis.busy import Kind

MINUTE_NS = 60 * 1_000_000_000
MAX_EXACT = 500
"""Intervals of a minute that are kept as they are."""
MAX_AGENTS = 5000
"""In a window; what comes after so many is counted and left out."""
MOMENTS = 1000
"""In a minute that is looked at and not kept."""

_STEP_NS = MINUTE_NS // MOMENTS
_GOLDEN = 0.6180339887498949
# No moment lies where those of a program that works in step with the clock would all be the same.
_MOMENTS_NS = [int((number + number * _GOLDEN % 1) * _STEP_NS) for number in range(MOMENTS)]
_KINDS: dict[Kind, int] = {"work": 0, "turn": 1, "waiting": 2, "failed": 3}

_Key = tuple[str, str]


class _Signs:
    """When an agent was first and last heard of in a minute, and when it was last busy."""

    __slots__ = ("busy_ns", "first_ns", "last_ns")

    def __init__(self, first_ns: int, last_ns: int) -> None:
        self.first_ns = first_ns
        self.last_ns = last_ns
        self.busy_ns = 0

    def take(self, interval: Interval) -> None:
        first_ns, last_ns = interval.start_ns, interval.end_ns
        self.first_ns = min(self.first_ns, first_ns)
        self.last_ns = max(self.last_ns, last_ns)
        if last_ns > self.busy_ns and last_ns > first_ns and interval.kind in ("work", "turn"):
            self.busy_ns = last_ns


class _Minute:
    """What agents did in a minute; `exact` while that is little."""

    __slots__ = ("exact", "moments", "signs", "start_ns")

    def __init__(self, start_ns: int) -> None:
        self.start_ns = start_ns
        self.exact: list[Interval] | None = []
        self.signs: dict[_Key, _Signs] = {}
        self.moments: dict[_Key, list[int]] = {}

    def add(self, interval: Interval) -> None:
        """Adds what lies in the minute."""
        if self.exact is None:
            self._look(interval, self.signs, self.moments)
            return
        self.exact.append(interval)
        if len(self.exact) > MAX_EXACT:
            kept, self.exact = self.exact, None
            for one in kept:
                self._look(one, self.signs, self.moments)

    def pieces(self, more: list[Interval], since_ns: int) -> Iterator[_Piece]:
        """The pieces of each agent from a time on, with `more` intervals from elsewhere."""
        if self.exact is not None:
            wanted = [*self.exact, *more]
            if self.start_ns < since_ns:
                wanted = [
                    one._replace(start_ns=max(one.start_ns, since_ns))
                    for one in wanted
                    if one.end_ns >= since_ns
                ]
            for key, agent in _by_agent(wanted).items():
                yield _Piece.of_agent(key, *agent)
            return
        signs = {key: _copy(one) for key, one in self.signs.items()}
        moments = {key: list(one) for key, one in self.moments.items()}
        for one in more:
            self._look(one, signs, moments)
        after = ~_mask(0, max(0, since_ns - self.start_ns)) & _mask(0, MINUTE_NS)
        for key, heard in signs.items():
            if heard.last_ns < since_ns:
                continue
            work, turn, waiting, failed = moments.get(key, (0, 0, 0, 0))
            at_work = (work | turn & ~waiting) & after
            yield _Piece(
                key,
                max(heard.first_ns, since_ns),
                heard.last_ns,
                heard.busy_ns if heard.busy_ns > since_ns else 0,
                at_work.bit_count() * _STEP_NS,
                (at_work & ~failed).bit_count() * _STEP_NS,
                at_work,
            )

    def _look(
        self, interval: Interval, signs: dict[_Key, _Signs], moments: dict[_Key, list[int]]
    ) -> None:
        key = interval.session_id, interval.agent
        heard = signs.get(key)
        if heard is None:
            heard = signs[key] = _Signs(interval.start_ns, interval.end_ns)
        heard.take(interval)
        kind = _KINDS.get(interval.kind)
        if kind is None:
            return
        mask = _mask(interval.start_ns - self.start_ns, interval.end_ns - self.start_ns)
        if mask:
            of_agent = moments.get(key)
            if of_agent is None:
                of_agent = moments[key] = [0, 0, 0, 0]
            of_agent[kind] |= mask


class _Piece(NamedTuple):
    """What an agent did in a minute: `at_work` are the moments, or the times themselves."""

    key: _Key
    first_ns: int
    last_ns: int
    busy_until_ns: int
    busy_ns: int
    useful_ns: int
    at_work: int | tuple[tuple[int, int], ...]

    @classmethod
    def of_agent(cls, key: _Key, agent: busy.Agent, first_ns: int, last_ns: int) -> _Piece:
        until_ns = agent.busy[-1][1] if agent.busy else 0
        return cls(key, first_ns, last_ns, until_ns, agent.busy_ns, agent.useful_ns, agent.busy)


class Agents:
    """Intervals of agents within a sliding window.

    Attributes:
        left_out: How many intervals were left out, of agents that came after too many others.
    """

    def __init__(self) -> None:
        self._minutes: dict[int, _Minute] = {}
        self._last_minute: dict[_Key, int] = {}
        self.left_out = 0

    def add(self, interval: Interval, since_ns: int) -> None:
        """Adds what an agent did, as far as it lies in the window."""
        key = interval.session_id, interval.agent
        last = interval.end_ns // MINUTE_NS
        known = self._last_minute.get(key)
        if known is None and len(self._last_minute) >= MAX_AGENTS:
            self.left_out += 1
            return
        if known is None or last > known:
            self._last_minute[key] = last
        if interval.start_ns >= since_ns and interval.start_ns // MINUTE_NS == last:
            self._minute(last).add(interval)
        else:
            for at, part in _cut(interval, since_ns):
                self._minute(at).add(part)

    def _minute(self, at: int) -> _Minute:
        minute = self._minutes.get(at)
        if minute is None:
            minute = self._minutes[at] = _Minute(at * MINUTE_NS)
        return minute

    def move_on(self, since_ns: int) -> None:
        """Drops what is before the window."""
        first = since_ns // MINUTE_NS
        if min(self._minutes, default=first) < first:
            self._minutes = {at: one for at, one in self._minutes.items() if at >= first}
            self._last_minute = {
                key: last for key, last in self._last_minute.items() if last >= first
            }

    def times(self, more: Iterable[Interval], *, since_ns: int, active_ns: int) -> Times:
        """Adds up what all agents did from a moment on; who was busy at `active_ns` is active.

        Args:
            more: Further intervals, from elsewhere.
            since_ns: Unix nanoseconds.
            active_ns: Agents that were busy at or after this time are active.
        """
        also: dict[int, list[Interval]] = {}
        for interval in more:
            for at, part in _cut(interval, since_ns):
                also.setdefault(at, []).append(part)
        minutes = []
        for at in sorted(self._minutes.keys() | also.keys()):
            minute = self._minutes.get(at) or _Minute(at * MINUTE_NS)
            minutes.append(list(minute.pieces(also.get(at, []), since_ns)))
        return _added_up(minutes, active_ns)


def _added_up(minutes: list[list[_Piece]], active_ns: int) -> Times:
    first: dict[_Key, int] = {}
    last: dict[_Key, int] = {}
    until: dict[_Key, int] = {}
    busy_ns = useful_ns = any_ns = parallel_ns = 0
    for piece in chain.from_iterable(minutes):
        key = piece.key
        first[key] = min(first.get(key, piece.first_ns), piece.first_ns)
        last[key] = max(last.get(key, 0), piece.last_ns)
        if piece.busy_until_ns:
            until[key] = max(until.get(key, 0), piece.busy_until_ns)
        busy_ns += piece.busy_ns
        useful_ns += piece.useful_ns
    sizes: dict[str, int] = {}
    for session_id, _ in until:
        sizes[session_id] = sizes.get(session_id, 0) + 1
    for minute in minutes:
        any_piece_ns, parallel_piece_ns = _any_and_parallel_ns(
            [piece for piece in minute if piece.key in until and sizes[piece.key[0]] > 1]
        )
        any_ns += any_piece_ns
        parallel_ns += parallel_piece_ns
    return Times(
        agents=len(first),
        active=sum(until_ns >= active_ns for until_ns in until.values()),
        available_ns=sum(last[key] - first[key] for key in first),
        busy_ns=busy_ns,
        useful_ns=useful_ns,
        any_ns=any_ns,
        parallel_ns=parallel_ns,
    )


def _any_and_parallel_ns(pieces: list[_Piece]) -> tuple[int, int]:
    one = two = 0
    times: list[tuple[int, int]] = []
    for piece in pieces:
        if isinstance(piece.at_work, int):
            two |= one & piece.at_work
            one |= piece.at_work
        else:
            times += piece.at_work
    if times:  # all of a minute's pieces are of one sort
        return busy.any_and_parallel_ns_of(times)
    return one.bit_count() * _STEP_NS, two.bit_count() * _STEP_NS


def _by_agent(intervals: Iterable[Interval]) -> dict[_Key, tuple[busy.Agent, int, int]]:
    found: dict[_Key, list[Interval]] = {}
    for interval in intervals:
        found.setdefault((interval.session_id, interval.agent), []).append(interval)
    return {
        key: (
            busy.agents(own)[0],
            min(one.start_ns for one in own),
            max(one.end_ns for one in own),
        )
        for key, own in found.items()
    }


def _cut(interval: Interval, since_ns: int) -> Iterator[tuple[int, Interval]]:
    """The parts of it that lie in each minute of the window."""
    start_ns, end_ns = max(interval.start_ns, since_ns), interval.end_ns
    if end_ns < since_ns:
        return
    at, last = start_ns // MINUTE_NS, end_ns // MINUTE_NS
    if at == last:
        yield (
            at,
            interval if start_ns == interval.start_ns else interval._replace(start_ns=start_ns),
        )
        return
    while start_ns < end_ns:
        until_ns = min(end_ns, (at + 1) * MINUTE_NS)
        yield at, interval._replace(start_ns=start_ns, end_ns=until_ns)
        start_ns, at = until_ns, at + 1


def _mask(start_ns: int, end_ns: int) -> int:
    """The moments of a minute from one time in it to another, as bits."""
    first = bisect_left(_MOMENTS_NS, start_ns)
    last = bisect_left(_MOMENTS_NS, end_ns, first)
    return (1 << last) - (1 << first)


def _copy(signs: _Signs) -> _Signs:
    copied = _Signs(signs.first_ns, signs.last_ns)
    copied.busy_ns = signs.busy_ns
    return copied
