from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.analysis import critical_path
from orchwatch.analysis.causes import Causes, Replay
from orchwatch.analysis.span_tree import SpanTree
from orchwatch.cli.main import main
from orchwatch.store import outlines, small
from orchwatch.store.outlines import Outline

if TYPE_CHECKING:
    from tests.unit.analysis.conftest import Tree

SESSIONS = Path(__file__).parents[2] / "data" / "claude"
# Far above what is taken for the rounding of a clock.
MS = 1_000_000
S = 1000 * MS

# A trace as (name, start, end, caller) in seconds, its path as it was worked out by hand, and how
# much sooner all would have ended had each of these taken no time of its own.
KNOWN: dict[str, tuple[list[tuple[str, float, float, str | None]], str, dict[str, float]]] = {
    "one span": ([("a", 0, 10, None)], "a 0-10", {"a": 10}),
    "one call": (
        [("a", 0, 10, None), ("b", 2, 7, "a")],
        "a 0-2, b 2-7, a 7-10",
        {"a": 5, "b": 5},
    ),
    "two calls one after the other": (
        [("a", 0, 10, None), ("b", 1, 4, "a"), ("c", 5, 9, "a")],
        "a 0-1, b 1-4, a 4-5, c 5-9, a 9-10",
        {"a": 3, "b": 3, "c": 4},
    ),
    "two that start together: the longer one": (
        [("a", 0, 10, None), ("b", 1, 4, "a"), ("c", 1, 9, "a")],
        "a 0-1, c 1-9, a 9-10",
        {"a": 2, "b": 0, "c": 5},
    ),
    "two that overlap: what ran when the other started held nothing up": (
        [("a", 0, 20, None), ("b", 0, 10, "a"), ("c", 5, 20, "a")],
        "a 0-5, c 5-20",
        {"a": 5, "b": 0, "c": 10},
    ),
    "two that end together: the one that started first": (
        [("a", 0, 10, None), ("b", 1, 9, "a"), ("c", 4, 9, "a")],
        "a 0-1, b 1-9, a 9-10",
        {"b": 0, "c": 0, "a": 2},
    ),
    "fork and join, twice": (
        [
            ("a", 0, 20, None),
            *(("b", 1, 5, "a"), ("c", 1, 8, "a")),
            *(("d", 10, 19, "a"), ("e", 10, 12, "a")),
        ],
        "a 0-1, c 1-8, a 8-10, d 10-19, a 19-20",
        {"a": 4, "b": 0, "c": 3, "d": 7, "e": 0},
    ),
    "calls in calls": (
        [("a", 0, 10, None), ("b", 1, 9, "a"), ("c", 2, 8, "b"), ("d", 3, 7, "c")],
        "a 0-1, b 1-2, c 2-3, d 3-7, c 7-8, b 8-9, a 9-10",
        {"a": 2, "b": 2, "c": 2, "d": 4},
    ),
    "agents side by side, the slower one by its tool": (
        [
            ("turn", 0, 30, None),
            *(("x", 2, 20, "turn"), ("x.tool", 4, 10, "x")),
            *(("y", 2, 28, "turn"), ("y.tool", 6, 27, "y")),
        ],
        "turn 0-2, y 2-6, y.tool 6-27, y 27-28, turn 28-30",
        {"turn": 4, "x": 0, "x.tool": 0, "y": 5, "y.tool": 8},
    ),
    "an agent in the background outlives the call that started it": (
        [("turn", 0, 40, None), ("call", 4, 6, "turn"), ("agent", 5, 35, "call")],
        "turn 0-4, call 4-5, agent 5-35, turn 35-40",
        {"turn": 9, "call": 1, "agent": 29},
    ),
    "an agent in the background outlives all": (
        [("turn", 0, 10, None), ("call", 4, 6, "turn"), ("agent", 5, 35, "call")],
        "turn 0-4, call 4-5, agent 5-35",
        {"turn": 4, "call": 1, "agent": 25},
    ),
    "one after the other, each started by the last one that had ended": (
        [("a", 0, 3, None), ("b", 4, 7, "a"), ("c", 8, 9, "b")],
        "a 0-3, b 4-7, c 8-9",
        {"a": 3, "b": 3, "c": 1},
    ),
    "the caller's span is not there": (
        [("b", 0, 4, "gone"), ("c", 6, 9, "gone")],
        "b 0-4, c 6-9",
        {"b": 4, "c": 3},
    ),
    "nothing was recorded for a while": (
        [("a", 0, 4, None), ("b", 10, 14, None)],
        "a 0-4, b 10-14",
        {"a": 4, "b": 4},
    ),
    "two that nothing called run together": (
        [("a", 0, 10, None), ("b", 6, 15, None)],
        "a 0-6, b 6-15",
        {"a": 0, "b": 5},
    ),
    "a turn is interrupted by the next": (
        [("a", 0, 10, None), ("x", 2, 6, "a"), ("b", 9.95, 15, None)],
        "a 0-2, x 2-6, a 6-9.95, b 9.95-15",
        {"a": 5.95, "x": 4, "b": 5},
    ),
    "a hook before its tool, as the clock has it": (
        [("turn", 0, 10, None), ("tool", 5, 8, "turn"), ("hook", 4, 5, "tool")],
        "turn 0-4, hook 4-5, tool 5-8, turn 8-10",
        {"turn": 6, "tool": 3, "hook": 1},
    ),
    "a moment takes no time": (
        [("a", 0, 10, None), ("mark", 4, 4, "a"), ("b", 4, 8, "a"), ("end", 10, 10, "a")],
        "a 0-4, b 4-8, a 8-10",
        {"a": 6, "mark": 0, "b": 4, "end": 0},
    ),
    "whole milliseconds overlap by one": (
        [("a", 0, 10, None), ("b", 1, 5.001, "a"), ("c", 5, 9, "a"), ("d", 9, 10.001, "a")],
        "a 0-1, b 1-5, c 5-9, d 9-10",
        {"a": 1, "b": 4, "c": 4, "d": 1},
    ),
    "a circle of callers": (
        [("a", 0, 10, "b"), ("b", 2, 6, "a")],
        "a 0-2, b 2-6, a 6-10",
        {"a": 6, "b": 4},
    ),
    "a message that starts its answer": (
        [
            *(("ask", 0, 12, None), ("send", 1, 2, "ask")),
            *(("deliver", 2, 4, "send"), ("answer", 4, 11, "deliver")),
        ],
        "ask 0-1, send 1-2, deliver 2-4, answer 4-11, ask 11-12",
        {"ask": 2, "send": 1, "deliver": 2, "answer": 7},
    ),
    "an unfinished caller ends at its last sign of life": (
        [("a", 0, 4, None), ("b", 1, 9, "a")],
        "a 0-1, b 1-9",
        {"a": 1, "b": 5},
    ),
}


def seconds(spans: list[tuple[str, float, float, str | None]]) -> list[Any]:
    return [(name, round(start * S), round(end * S), caller) for name, start, end, caller in spans]


def path_of(tree: SpanTree, found: critical_path.CriticalPath) -> str:
    return ", ".join(
        f"{tree.spans[place].name} {start_ns / S:g}-{end_ns / S:g}"
        for place, start_ns, end_ns in found.segments
    )


def saved(tree: SpanTree) -> dict[str, float]:
    groups = {span.name: number for number, span in enumerate(tree.spans)}
    replay = Replay(tree, Causes(tree), [*range(tree.root), -1])
    return {name: replay.saved_ns(group) / S for name, group in groups.items()}


@pytest.mark.parametrize("case", KNOWN)
def test_the_path_of_a_known_trace_is_the_one_worked_out_by_hand(case: str, tree: Tree) -> None:
    spans, path, _ = KNOWN[case]
    made = tree(seconds(spans))
    found = critical_path.measure(made)
    assert path_of(made, found) == path
    holds(made, found)


@pytest.mark.parametrize("case", KNOWN)
def test_what_would_be_saved_is_the_one_worked_out_by_hand(case: str, tree: Tree) -> None:
    spans, _, expected = KNOWN[case]
    assert saved(tree(seconds(spans))) == pytest.approx(expected)


def holds(tree: SpanTree, found: critical_path.CriticalPath) -> None:
    """What is true of every path."""
    assert sum(entry.path_ns for entry in found.entries) == found.path_ns
    assert found.path_ns + found.idle_ns == found.end_ns - found.start_ns
    for before, after in zip(found.segments, found.segments[1:], strict=False):
        assert before.start_ns < before.end_ns <= after.start_ns
    for place, start_ns, end_ns in found.segments:
        assert tree.start[place] <= start_ns < end_ns <= tree.end[place]
    for entry in found.entries:
        assert entry.saved_ns is None or 0 <= entry.saved_ns <= entry.path_ns
    if found.entries:
        assert sum(entry.share for entry in found.entries) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(40))
def test_of_any_spans_the_path_has_no_gap_and_nothing_saves_more_than_it_has(
    seed: int,
) -> None:
    draw = random.Random(seed)
    count = draw.choice([1, 2, 5, 40, 200])
    spans = []
    for number in range(count):
        start = draw.randrange(1000) * draw.choice([1, MS, S])
        end = start + draw.choice([0, draw.randrange(1000), draw.randrange(1000) * MS])
        caller = draw.choice([None, 999, *range(1, count + 1)])
        spans.append(
            Outline(
                *("t", number + 1, caller, f"n{draw.randrange(6)}", None, start, end, 1, None),
                *("s", draw.choice([None, "x", "y"]), None),
                host=draw.choice([None, "one", "two"]),
            )
        )
    spans.sort(key=lambda span: (span.start_ns, -span.end_ns, span.span_id))
    tree = SpanTree(spans)
    found = critical_path.measure(tree)
    holds(tree, found)
    replay = Replay(tree, Causes(tree), [0] * (tree.root + 1))
    assert replay.saved_ns(1) == 0
    assert found.efficiency is None or 0 < found.efficiency <= 1


def test_agents_are_as_efficient_as_they_are_at_work_together(tree: Tree) -> None:
    spans = [("turn", 0, 10, None), ("x", 0, 10, "turn"), ("y", 0, 5, "turn")]
    found = critical_path.measure(
        tree(seconds(spans), x={"agent": "x"}, y={"agent": "y"})  # type: ignore[arg-type]
    )
    # The turn itself does nothing but wait.
    assert (found.agents, found.parallelism, found.efficiency) == (2, 1.5, 0.75)


def test_what_names_neither_session_nor_agent_is_its_callers(tree: Tree) -> None:
    spans = [("turn", 0, 10, None), ("x", 2, 8, "turn"), ("y", 3, 5, "x"), ("z", 6, 7, "x")]
    more = {
        "x": {"agent": "x"},
        "y": {"session_id": None},
        "z": {"session_id": None, "agent": "other"},
    }
    found = critical_path.measure(tree(seconds(spans), **more))  # type: ignore[arg-type]
    # Of the turn, of x with y in it, and of the other.
    assert (found.agents, found.parallelism) == (3, 1)


def test_a_span_of_a_clock_that_is_behind_lies_in_the_middle_of_its_caller(tree: Tree) -> None:
    spans = [("a", 10, 20, None), ("b", 2, 8, "a"), ("c", 3, 5, "b")]
    hosts = {"a": {"host": "one"}, "b": {"host": "two"}, "c": {"host": "two"}}
    moved = tree(seconds(spans), **hosts)  # type: ignore[arg-type]
    assert moved.moved == 1
    found = critical_path.measure(moved)
    assert path_of(moved, found) == "a 10-12, b 12-13, c 13-15, b 15-18, a 18-20"
    # Of one clock, what comes before its caller came before.
    assert tree(seconds(spans)).moved == 0  # type: ignore[arg-type]


def test_the_paths_of_real_sessions_hold(home: Path) -> None:
    assert main(["claude", "import", str(SESSIONS)]) == 0
    store = small.read(home)
    assert store is not None
    trace_ids = {row.trace_id for row in store.rows}
    assert len(trace_ids) > 3
    for trace_id in trace_ids:
        tree = SpanTree(outlines.of_trace(store, trace_id))
        holds(tree, critical_path.measure(tree))


def test_a_trace_may_be_very_deep_and_very_wide() -> None:
    count = 20_000
    deep = [
        Outline(
            "t", n + 1, n or None, f"d{n % 3}", None, n, 3 * count - n, 1, None, "s", None, None
        )
        for n in range(count)
    ]
    wide = [
        Outline("t", count + n, 1, f"w{n % 3}", None, n, n + 5, 1, None, "s", None, None)
        for n in range(1, count)
    ]
    spans = sorted([*deep, *wide], key=lambda span: (span.start_ns, -span.end_ns, span.span_id))
    tree = SpanTree(spans)
    holds(tree, critical_path.measure(tree))
