from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from orchwatch.analysis import flame, flame_diff
from orchwatch.analysis.lanes import lanes
from orchwatch.analysis.span_tree import SpanTree, below
from orchwatch.store.outlines import Outline

if TYPE_CHECKING:
    from tests.unit.analysis.conftest import Tree


def drawn(seed: int, count: int = 200) -> list[Outline]:
    draw = random.Random(seed)
    spans = []
    for number in range(count):
        start = draw.randrange(1000)
        caller = draw.choice([None, 9999, *range(1, count + 1)])
        name = draw.choice(["a", "b", "execute_tool Bash", "x;y"])
        agent = draw.choice([None, "one", "two"])
        end = start + draw.choice([0, draw.randrange(300)])
        trace = draw.choice("tu")
        status = draw.choice([1, 2])
        spans.append(
            Outline(
                trace, number + 1, caller, name, None, start, end, status, None, "s", agent, None
            )
        )
    return sorted(spans, key=lambda span: (span.start_ns, -span.end_ns, span[:2]))


def paths(found: flame.Flame) -> dict[str, tuple[int, int, int]]:
    """Total, own time and spans by call path."""
    names: list[str] = []
    shown = {}
    for frame in found.frames:
        names[frame.level :] = [frame.name]
        shown[";".join(names)] = (frame.total_ns, frame.self_ns, frame.count)
    return shown


def test_calls_of_one_name_under_the_same_callers_are_one_frame(tree: Tree) -> None:
    spans = [
        *(("turn", 0, 100, None), ("Bash", 10, 30, "turn"), ("x", 12, 20, "Bash")),
        *(("Bash2", 50, 60, "turn"), ("Read", 70, 75, "turn")),
    ]
    made = tree(spans, Bash2={"name": "Bash"})
    found = flame.of_spans(made.spans)
    assert paths(found) == {
        "turn": (100, 65, 1),
        "turn;Bash": (30, 22, 2),
        "turn;Bash;x": (8, 8, 1),
        "turn;Read": (5, 5, 1),
    }
    assert (found.own_ns, found.ran_ns, found.spans, found.traces) == (100, 100, 5, 1)


def test_what_runs_side_by_side_counts_each_and_its_caller_is_not_at_work(tree: Tree) -> None:
    spans = [("turn", 0, 100, None), ("a", 10, 60, "turn"), ("b", 20, 90, "turn")]
    found = flame.of_spans(tree(spans).spans)
    assert paths(found) == {
        "turn": (140, 20, 1),
        "turn;b": (70, 70, 1),
        "turn;a": (50, 50, 1),
    }
    assert (found.own_ns, found.ran_ns) == (140, 100)


def test_what_outlives_its_caller_takes_from_it_only_while_it_is_there(tree: Tree) -> None:
    spans = [("call", 0, 10, None), ("agent", 5, 50, "call")]
    found = flame.of_spans(tree(spans).spans)
    assert paths(found) == {"call": (50, 5, 1), "call;agent": (45, 45, 1)}
    assert found.ran_ns == 50


@pytest.mark.parametrize("seed", range(20))
def test_own_times_add_up_to_how_many_were_at_work_at_each_moment(seed: int) -> None:
    spans = drawn(seed)
    found = flame.of_spans(spans)
    tree = SpanTree(spans, as_recorded=True)
    at_work = 0
    for moment in range(1400):
        running = {
            place for place in range(tree.root) if tree.start[place] <= moment < tree.end[place]
        }
        at_work += sum(not running.intersection(tree.children[place]) for place in running)
    assert found.own_ns == at_work
    assert found.own_ns == sum(frame.total_ns for frame in found.frames if frame.level == 0)
    assert sum(frame.count for frame in found.frames) == len(spans)
    assert sum(frame.errors for frame in found.frames) == sum(span.status == 2 for span in spans)


@pytest.mark.parametrize("seed", range(5))
def test_callers_come_first_and_the_largest_before_the_smaller(seed: int) -> None:
    frames = flame.of_spans(drawn(seed)).frames
    for place, frame in enumerate(frames):
        assert frame.parent is None or frame.parent < place
        assert frame.level == (0 if frame.parent is None else frames[frame.parent].level + 1)
    for parent in {frame.parent for frame in frames}:
        totals = [frame.total_ns for frame in frames if frame.parent == parent]
        assert totals == sorted(totals, reverse=True)


def test_an_agent_is_named_where_it_is_not_the_callers(tree: Tree) -> None:
    spans = [("turn", 0, 9, None), ("x", 1, 8, "turn"), ("y", 2, 7, "x"), ("z", 3, 6, "y")]
    who = {"x": {"agent": "one"}, "y": {"agent": "one"}, "z": {"agent": "two"}}
    found = flame.of_spans(tree(spans, **who).spans)
    assert [frame.name for frame in found.frames] == ["turn", "x [one]", "y", "z [two]"]
    named = tree(spans[:2], x={"name": "invoke_agent Explore", "agent": "Explore"})
    assert flame.of_spans(named.spans).frames[1].name == "invoke_agent Explore"


def test_what_lies_deeper_than_people_look_is_one_frame() -> None:
    count = 5000
    spans = [
        Outline("t", n + 1, n or None, f"d{n}", None, n, 2 * count - n, 1, None, "s", None, None)
        for n in range(count)
    ]
    found = flame.of_spans(spans)
    assert len(found.frames) == flame.DEEPEST + 1
    assert found.frames[-1].name == flame.DEEPER
    assert found.frames[-1].count == count - flame.DEEPEST
    assert found.own_ns == 2 * count


def test_nothing_at_all_is_an_empty_graph() -> None:
    assert flame.of_spans([]).frames == []


def test_two_graphs_are_compared_path_by_path_and_per_trace(tree: Tree) -> None:
    before = flame.of_spans(tree([("a", 0, 10, None), ("gone", 2, 6, "a")]).spans)
    twice = [("a", 0, 30, None), ("b", 1, 11, "a"), ("a2", 100, 130, None)]
    now = flame.of_spans(tree(twice, a2={"name": "a", "trace_id": "u"}).spans)
    diff = flame_diff.compare(now, before)
    names: list[str] = []
    found = {}
    for frame, change in zip(diff.flame.frames, diff.changes, strict=True):
        names[frame.level :] = [frame.name]
        found[";".join(names)] = (change.total_ns, change.before_ns, change.grown_ns)
    assert found == {"a": (30, 10, 20), "a;b": (5, 0, 5), "a;gone": (0, 4, -4)}


@pytest.mark.parametrize("seed", range(3))
def test_a_graph_compared_with_itself_has_not_changed(seed: int) -> None:
    graph = flame.of_spans(drawn(seed))
    diff = flame_diff.compare(graph, graph)
    assert {change.grown_ns for change in diff.changes} == {0}
    assert len(diff.changes) == len(graph.frames)


def test_of_an_operation_all_that_it_called_is_kept(tree: Tree) -> None:
    spans = [("a", 0, 10, None), ("b", 1, 9, "a"), ("c", 2, 8, "b"), ("d", 9, 10, "a")]
    assert [span.name for span in below(tree(spans).spans, "b")] == ["b", "c"]
    assert below([], "b") == []


@pytest.mark.parametrize("seed", range(20))
def test_in_a_lane_each_span_lies_within_another_or_beside_it(seed: int) -> None:
    tree = SpanTree(drawn(seed), as_recorded=True)
    placed = lanes(tree)
    by_lane: dict[tuple[str, int], list[int]] = {}
    for place in range(tree.root):
        by_lane.setdefault(placed[place], []).append(place)
    for places in by_lane.values():
        for one in places:
            for other in places:
                if one < other:
                    a, b = (tree.start[one], tree.end[one]), (tree.start[other], tree.end[other])
                    assert (
                        a[1] <= b[0]
                        or b[1] <= a[0]
                        or (a[0] <= b[0] and b[1] <= a[1])
                        or (b[0] <= a[0] and a[1] <= b[1])
                    )


def test_calls_one_after_the_other_share_their_callers_lane(tree: Tree) -> None:
    spans = [("a", 0, 10, None), ("b", 1, 4, "a"), ("c", 4, 9, "a"), ("d", 3, 6, "a")]
    made = tree(spans)
    found = {span.name: lane for span, lane in zip(made.spans, lanes(made), strict=True)}
    assert found == {"a": ("", 0), "b": ("", 0), "d": ("", 1), "c": ("", 0)}
