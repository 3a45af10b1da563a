from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from tests.unit.monitor.test_call_paths import assert_adds_up

from orchwatch import semconv
from orchwatch.analysis import flame
from orchwatch.monitor import call_traces
from orchwatch.monitor.call_paths import ALL, CallPaths
from orchwatch.monitor.call_traces import QUIET_S, WAIT_S, CallTraces, _outline
from orchwatch.monitor.ended_operations import EndedOperation

if TYPE_CHECKING:
    from collections.abc import Sequence

S = 1_000_000_000
NOW_NS = 1_795_996_619 * S


def span(
    name: str,
    begins_s: float,
    took_s: float,
    *,
    number: int = 0,
    caller: int | None = None,
    trace: int = 1,
    service: str | None = "s",
    agent: str | None = None,
    operation: str | None = None,
) -> EndedOperation:
    """A span; it begins so long before now."""
    return EndedOperation(
        operation=operation or "",
        end_ns=NOW_NS + round((took_s - begins_s) * S),
        duration_ns=round(took_s * S),
        failed=False,
        session_id=None,
        agent=agent,
        agent_id=None,
        span_id=f"{number:016x}",
        parent_span_id=None if caller is None else f"{caller:016x}",
        service=service,
        host=None,
        pid=None,
        trace_id=f"{trace:032x}",
        name=name,
        is_operation=operation is not None,
    )


class Watched:
    """Traces and what is counted of them, by a clock of seconds."""

    def __init__(self) -> None:
        self.paths = CallPaths()
        self.traces = CallTraces(self.paths)
        self.now_s = 1000.0

    def add(self, *spans: EndedOperation) -> None:
        self.traces.add(spans, self.now_s)

    def count(self, after_s: float = QUIET_S) -> dict[str, float]:
        """What is told after some more seconds, by path."""
        self.now_s += after_s
        self.traces.count(self.now_s, NOW_NS)
        told = self.paths.told()
        assert_adds_up(told)
        return {one.text: one.told_ns / S for one in told if one.caller is not None}


TURN = span("turn", 100, 100)


def test_a_trace_is_counted_when_nothing_has_come_for_a_moment() -> None:
    watched = Watched()
    watched.add(span("Bash", 90, 30, number=1, caller=0))
    watched.add(TURN)
    assert watched.count(QUIET_S / 2) == {}
    assert watched.count(QUIET_S / 2) == {"turn": 70, "turn;Bash": 30}
    assert watched.count() == {"turn": 70, "turn;Bash": 30}


def test_what_has_not_ended_keeps_waiting_what_it_called() -> None:
    watched = Watched()
    for number in range(1, 20):
        watched.add(span("Bash", 90, 3, number=number, caller=0))
        assert watched.count(WAIT_S - 1) == {}
    watched.add(TURN)
    # They ran side by side, so each counts.
    assert watched.count() == {"turn": 97, "turn;Bash": 57}


def test_a_caller_that_never_comes_is_given_up_after_a_while() -> None:
    watched = Watched()
    watched.add(span("hook", 50, 5, number=2, caller=1), span("Bash", 60, 20, number=1, caller=99))
    assert watched.count(WAIT_S - 1) == {}
    assert watched.count(1) == {"Bash": 15, "Bash;hook": 5}


def test_children_that_overlap_and_outlast_their_caller_are_as_in_the_flame_graph() -> None:
    watched = Watched()
    watched.add(
        TURN,
        span("a", 90, 40, number=1, caller=0),
        span("b", 70, 40, number=2, caller=0),
        span("c", 20, 60, number=3, caller=0),
    )
    # 10 before a, 10 between b and c.
    assert watched.count() == {"turn": 20, "turn;a": 40, "turn;b": 40, "turn;c": 60}


def test_what_comes_late_is_below_its_caller_and_takes_its_time_from_what_that_one_has_next() -> (
    None
):
    watched = Watched()
    watched.add(TURN)
    assert watched.count() == {"turn": 100}
    watched.add(span("agent", 80, 80, number=1, caller=0))
    assert watched.count() == {"turn": 100, "turn;agent": 80}
    # The next turn waits for its agents all the time but for one second.
    watched.add(span("turn", 100, 100, trace=2), span("agent", 99, 99, number=1, caller=0, trace=2))
    assert watched.count() == {"turn": 100, "turn;agent": 179}
    watched.add(span("turn", 99, 99, trace=3))
    # 100, less 80, and 1 and 99 more.
    assert watched.count() == {"turn": 120, "turn;agent": 179}


def test_a_span_that_is_read_twice_counts_once() -> None:
    watched = Watched()
    watched.add(TURN, TURN)
    watched.count()
    watched.add(TURN)
    assert watched.count() == {"turn": 100}


def test_what_ended_an_hour_ago_does_not_happen_now() -> None:
    watched = Watched()
    watched.add(span("turn", 7300, 3600, trace=1), span("turn", 3700, 200, trace=2))
    assert watched.count() == {"turn": 200}
    # A trace is as late as what ended last in it.
    watched.add(span("turn", 9000, 9000, trace=3), span("a", 8000, 10, number=1, caller=0, trace=3))
    assert watched.count() == {"turn": 9190, "turn;a": 10}


def test_what_is_dated_in_the_future_waits_and_is_not_remembered_without_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(call_traces, "MAX_SPANS", 10)
    watched = Watched()
    watched.add(*(span("a", -500, 1, trace=number) for number in range(30)))
    assert watched.count() == {}
    assert len(watched.traces._traces) == 10
    # Nothing that would have to be stored.
    assert not watched.traces.count(watched.now_s, NOW_NS)
    watched.traces.count(watched.now_s, NOW_NS + 600 * S)
    assert {one.text: one.told_ns for one in watched.paths.told()}["a"] == 10 * S


def test_of_too_many_the_longest_silent_are_counted_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(call_traces, "MAX_SPANS", 100)
    watched = Watched()
    for number in range(50):
        watched.add(
            *(span("Bash", 90, 1, number=place, caller=99, trace=number) for place in range(1, 11))
        )
    assert watched.traces.is_full
    # Forty traces gave way.
    assert watched.count(0) == {"Bash": 400}
    assert not watched.traces.is_full
    assert len(watched.traces.uncounted()) == 100
    watched.add(span("turn", 100, 100, number=99, trace=49))
    # With one more span another one had to.
    assert watched.count() == {"Bash": 410, "turn": 99, "turn;Bash": 10}


def test_a_trace_belongs_to_the_service_in_which_it_began() -> None:
    watched = Watched()
    watched.add(
        span("turn", 100, 100, service="claude-code"),
        span("tool", 90, 40, number=1, caller=0, service="shop"),
        span("query", 80, 10, number=2, caller=1, service="shop"),
        span("alone", 80, 10, number=3, caller=77, service="shop"),
        # A circle.
        span("x", 70, 10, number=4, caller=5, service="shop"),
        span("y", 70, 10, number=5, caller=4, service="shop"),
        span("none", 10, 10, trace=2, service=None),
    )
    watched.count(WAIT_S)
    found = {(one.service, one.text): one.total_ns / S for one in watched.paths.told()}
    assert found["claude-code", ALL] == 100
    assert found["claude-code", "turn;tool;query"] == 10
    assert found["shop", "alone"] == 10
    assert found["shop", ALL] == 20
    assert found[semconv.UNKNOWN_SERVICE, "none"] == 10


def random_traces(chance: random.Random) -> list[EndedOperation]:
    """Of any shape: overlapping, outlasting, without callers, in circles."""
    spans = []
    for trace in range(30):
        size = chance.choice((1, 1, 2, 5, 12))
        for number in range(size):
            caller = None
            if number and chance.random() < 0.9:
                caller = chance.randrange(size if chance.random() < 0.1 else number)
            begins_s = chance.uniform(0, 500)
            spans.append(
                span(
                    chance.choice("abc"),
                    begins_s,
                    chance.uniform(0, begins_s),
                    number=number,
                    caller=caller,
                    trace=trace,
                    agent=chance.choice((None, None, None, "Explore")),
                    operation=chance.choice((None, "state.query", semconv.HOOK_PROCESS)),
                )
            )
    return spans


def frames(spans: Sequence[EndedOperation]) -> Counter[str]:
    """What each path has of its own; kinds of one name together."""
    outlines = sorted(map(_outline, spans), key=lambda one: (one.start_ns, -one.end_ns))
    graph = flame.of_spans(outlines)
    found: Counter[str] = Counter()
    for frame in graph.frames:
        found[";".join(one.name for one in _above(graph, frame))] += frame.self_ns
    return found


def _above(graph: flame.Flame, frame: flame.Frame) -> list[flame.Frame]:
    found = [frame]
    while found[0].parent is not None:
        found.insert(0, graph.frames[found[0].parent])
    return found


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_in_whatever_order_is_counted_as_the_flame_graph_has_it(seed: int) -> None:
    chance = random.Random(seed)
    spans = random_traces(chance)
    arriving = list(spans)
    chance.shuffle(arriving)
    watched = Watched()
    while arriving:
        number = chance.randrange(1, 60)
        watched.add(*arriving[:number])
        del arriving[:number]
        # Before more of the same traces comes, or not.
        watched.count(chance.choice((0, QUIET_S)))
    watched.count(WAIT_S)
    exact: Counter[str] = Counter()
    for one in watched.paths.told():
        exact[one.text] += one.self_ns
    assert +exact == +frames(spans)
