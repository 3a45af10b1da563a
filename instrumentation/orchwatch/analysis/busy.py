"""When agents were busy: their intervals, swept once in the order of time."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind = Literal["work", "turn", "waiting", "failed", "alive"]


class Interval(NamedTuple):
    """What an agent did from one moment to another, in Unix nanoseconds.

    Attributes:
        session_id: The agent's session; empty where it has none.
        agent: The agent's id, else its name; empty for a session's main agent.
        kind: `work` makes it busy; so does a `turn`, except while it is `waiting` for another agent
            that it has handed work to, or for a person. `failed` is work that failed, and `alive`
            only says that the agent existed.
        start_ns: When it began.
        end_ns: When it ended.
    """

    session_id: str
    agent: str
    kind: Kind
    start_ns: int
    end_ns: int


@dataclass(frozen=True, kw_only=True)
class Agent:
    """What one agent did, in nanoseconds.

    Attributes:
        session_id: Its session; empty where it has none.
        available_ns: From its first sign of life to its last.
        busy: When it was busy, as intervals without overlap, by start.
        useful_ns: How long it was busy outside of what failed.
    """

    session_id: str
    available_ns: int
    busy: tuple[tuple[int, int], ...]
    useful_ns: int

    @property
    def busy_ns(self) -> int:
        """How long it was busy."""
        return sum(end - start for start, end in self.busy)


class Times(NamedTuple):
    """What all agents did, in nanoseconds.

    Attributes:
        agents: How many there were.
        active: How many of them were busy at a given moment or later.
        available_ns: From its first sign of life to its last, added up over all agents.
        busy_ns: How long they were busy, likewise.
        useful_ns: How long of that outside of what failed.
        any_ns: How long one agent or more of `teams` was busy.
        parallel_ns: How long two or more of them were.
    """

    agents: int
    active: int
    available_ns: int
    busy_ns: int
    useful_ns: int
    any_ns: int
    parallel_ns: int


def times(intervals: Iterable[Interval], *, active_ns: int) -> Times:
    """Adds up what agents did; an agent that was busy at `active_ns` or later is active."""
    found = agents(intervals)
    return Times(
        len(found),
        sum(bool(agent.busy) and agent.busy[-1][1] >= active_ns for agent in found),
        sum(agent.available_ns for agent in found),
        sum(agent.busy_ns for agent in found),
        sum(agent.useful_ns for agent in found),
        *any_and_parallel_ns(teams(found)),
    )


def agents(intervals: Iterable[Interval]) -> list[Agent]:
    """Each agent that occurs; what overlaps within one agent is counted once."""
    found: defaultdict[tuple[str, str], list[Interval]] = defaultdict(list)
    for interval in intervals:
        found[interval.session_id, interval.agent].append(interval)
    return [_agent(own) for own in found.values()]


def teams(agents: Iterable[Agent]) -> list[Agent]:
    """The agents that were busy in a session where another one was, too.

    Whether agents work at once says something about these only: one that works alone in its session
    waits for no other, and that two sessions overlap for a moment is a coincidence.
    """
    workers = [agent for agent in agents if agent.busy]
    counts = Counter(agent.session_id for agent in workers)
    return [agent for agent in workers if counts[agent.session_id] > 1]


def any_and_parallel_ns(agents: Iterable[Agent]) -> tuple[int, int]:
    """How long one agent or more was busy, and how long two or more were."""
    return any_and_parallel_ns_of([piece for agent in agents for piece in agent.busy])


def any_and_parallel_ns_of(pieces: list[tuple[int, int]]) -> tuple[int, int]:
    """The same of all agents' times, each one's without overlap."""
    any_ns = parallel_ns = 0
    # The latest two ends so far: at least one agent is busy until the first, two until the second.
    last = second = 0
    for start, end in sorted(pieces):
        any_ns += max(0, end - max(start, last))
        parallel_ns += max(0, min(end, last) - max(start, second))
        if end > last:
            last, second = end, last
        elif end > second:
            second = end
    return any_ns, parallel_ns


def _agent(intervals: list[Interval]) -> Agent:
    changes: list[tuple[int, Kind, int]] = []
    for interval in intervals:
        changes.append((interval.start_ns, interval.kind, 1))
        changes.append((interval.end_ns, interval.kind, -1))
    changes.sort()
    running: dict[Kind, int] = {"work": 0, "turn": 0, "waiting": 0, "failed": 0, "alive": 0}
    busy: list[tuple[int, int]] = []
    useful_ns = 0
    before_ns = changes[0][0]
    for at_ns, kind, change in changes:
        is_busy = running["work"] or (running["turn"] and not running["waiting"])
        if is_busy and at_ns > before_ns:
            # Pieces that touch are one.
            start_ns = busy.pop()[0] if busy and busy[-1][1] == before_ns else before_ns
            busy.append((start_ns, at_ns))
            if not running["failed"]:
                useful_ns += at_ns - before_ns
        before_ns = at_ns
        running[kind] += change
    return Agent(
        session_id=intervals[0].session_id,
        available_ns=changes[-1][0] - changes[0][0],
        busy=tuple(busy),
        useful_ns=useful_ns,
    )
