from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.analysis.test_flame import drawn

from orchwatch.analysis import trace_diff

if TYPE_CHECKING:
    from tests.unit.analysis.conftest import Tree


def test_phases_say_what_is_waited_for_longer_what_is_new_and_what_is_gone(tree: Tree) -> None:
    before = tree([("a", 0, 10, None), ("x", 1, 5, "a"), ("gone", 6, 8, "a")])
    now = tree([("a", 0, 30, None), ("x", 1, 15, "a"), ("new", 16, 20, "a"), ("beside", 2, 9, "a")])
    diff = trace_diff.compare(before.spans, now.spans)
    found = {
        phase.name: (phase.before.path_ns, phase.now.path_ns, phase.now.own_ns, phase.now.count)
        for phase in diff.phases
    }
    assert found == {
        "a": (4, 12, 12, 1),
        "x": (4, 14, 14, 1),
        "new": (0, 4, 4, 1),
        "gone": (2, 0, 0, 0),
        # Nobody waits for what runs beside something longer.
        "beside": (0, 0, 7, 1),
    }
    assert [phase.name for phase in diff.phases][:2] == ["x", "a"]
    assert (diff.before.path_ns, diff.now.path_ns) == (10, 30)


def test_sets_are_compared_per_trace(tree: Tree) -> None:
    one = tree([("a", 0, 10, None)])
    two = tree([("a", 0, 10, None), ("b", 100, 130, None)], b={"name": "a", "trace_id": "u"})
    diff = trace_diff.compare(one.spans, two.spans)
    (phase,) = diff.phases
    assert (phase.before.path_ns, phase.now.path_ns, phase.now.count) == (10, 20, 1)
    assert (diff.now.traces, diff.now.spans) == (2, 2)


@pytest.mark.parametrize("seed", range(10))
def test_all_differences_add_up_to_that_of_the_whole(seed: int) -> None:
    diff = trace_diff.compare(drawn(seed), drawn(seed + 1, 90))
    whole = diff.now.path_ns - diff.before.path_ns
    assert sum(phase.grown_ns for phase in diff.phases) == pytest.approx(whole)
    same = trace_diff.compare(drawn(seed), drawn(seed))
    assert all(phase.before == phase.now for phase in same.phases)
