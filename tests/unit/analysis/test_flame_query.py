"""DuckDB's graph is the one made of spans in Python, to the last digit."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.conftest import NOW_NS
from tests.unit.store.test_small import fill

from orchwatch.analysis import flame, flame_query
from orchwatch.store import outlines, small
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record


def put(record: Record, seed: int, count: int = 150) -> None:
    """Spans of few traces, each called by an earlier one or by one that is not there."""
    draw = random.Random(seed)
    for number in range(1, count + 1):
        attributes: dict[str, Any] = {"session.id": draw.choice("st")}
        if draw.random() < 0.6:
            attributes["gen_ai.agent.name"] = draw.choice(["one", "two"])
        if draw.random() < 0.4:
            attributes["orchestration.hook.name"] = draw.choice(["check", 'a "b"', "é\n"])
        caller = draw.choice([0, 999_999, *range(1, number)])
        operation = draw.choice(["agent.turn", "hook.process", "tool.execute", None])
        for family in sorted({draw.choice(["operations", "operations", "undelivered"])}):
            record(
                operation,
                name=draw.choice([None, "execute_tool Bash"]),
                duration_ns=draw.choice([0, draw.randrange(10**9)]),
                end_ns=NOW_NS - draw.randrange(10**9),
                failed=draw.random() < 0.2,
                family=family,
                trace_id=f"{draw.randrange(4) + 1:032x}",
                span_id=f"{number:016x}",
                parent_span_id=f"{caller:016x}" if caller else "",
                attributes=attributes,
            )


@pytest.mark.parametrize("seed", range(6))
def test_both_make_the_same_graph(home: Path, record: Record, seed: int) -> None:
    put(record, seed)
    in_python = small.read(home)
    assert in_python is not None
    with Store(home) as store:
        for selection in (
            Selection(history=True),
            Selection(session_id="s"),
            Selection(agent="one"),
        ):
            expected = flame_query.merged(in_python, selection)
            assert expected.frames
            # Not by falling back.
            assert flame_query._asked(store, selection) == expected, selection


@pytest.mark.parametrize("seed", range(3))
def test_what_it_cannot_reach_is_left_to_python(home: Path, record: Record, seed: int) -> None:
    fill(record, seed)
    for number in (1, 2):
        other = f"{3 - number:016x}"
        record(trace_id="c" * 32, span_id=f"{number:016x}", parent_span_id=other)
    in_python = small.read(home)
    assert in_python is not None
    everything = Selection(history=True)
    with Store(home) as store:
        assert flame_query._asked(store, everything) is None
        assert flame_query.merged(store, everything) == flame_query.merged(in_python, everything)


def test_more_levels_than_are_told_apart_are_left_to_python(home: Path, record: Record) -> None:
    for number in range(1, flame.DEEPEST + 3):
        parent = f"{number - 1:016x}" if number > 1 else ""
        record(trace_id="d" * 32, span_id=f"{number:016x}", parent_span_id=parent)
    with Store(home) as store:
        assert flame_query._asked(store, Selection()) is None
        found = flame_query.merged(store, Selection())
        assert found == flame.of_spans(outlines.selected(store, Selection()))
    assert found.frames[-1].name == flame.DEEPER
