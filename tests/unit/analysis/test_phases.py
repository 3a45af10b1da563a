from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch.analysis import phases
from orchwatch.store.outlines import Outline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MS = 1_000_000
S = 1000 * MS
# By the part of a label before its dot: operation, and name of the span.
KINDS = {
    "turn": ("agent.turn", "agent.turn"),
    "inner": (None, "agent.turn"),
    "run": ("agent.run", "invoke_agent Explore"),
    "compactor": ("agent.run", "invoke_agent compact"),
    "spawn": ("agent.spawn", "agent.spawn"),
    "tool": ("tool.execute", "execute_tool Bash"),
    "wait": ("user.wait", "user.wait"),
    "hook": ("hook.process", "hook.process"),
    "unmeasured": (None, "hook.process"),
    "compact": ("context.compact", "context.compact"),
    "chat": (None, "chat gpt-5.5"),
    "error": ("api.error", "api.error"),
    "command": (None, "command.run"),
    "query": ("state.query", "state.query"),
}
Made = tuple[str, float, float, str | None]
FIRST = "gen_ai.response.time_to_first_chunk"
ATTEMPT, DELAY = "orchestration.retry.attempt", "orchestration.retry.delay"

# A turn as (label, start, end, caller) in seconds, what spans of it tell, and its phases.
KNOWN: dict[str, tuple[list[Made], dict[str, dict[str, float]], dict[str, float]]] = {
    "nothing but the turn: the model answers": ([("turn", 0, 10, None)], {}, {"model": 10}),
    "a tool": ([("turn", 0, 10, None), ("tool", 2, 7, "turn")], {}, {"model": 5, "tools": 5}),
    "two tools side by side count once": (
        [("turn", 0, 10, None), ("tool.a", 1, 6, "turn"), ("tool.b", 4, 9, "turn")],
        {},
        {"model": 2, "tools": 8},
    ),
    "a permission before a tool": (
        [("turn", 0, 20, None), ("wait", 2, 12, "turn"), ("tool", 12, 15, "turn")],
        {},
        {"person": 10, "tools": 3, "model": 7},
    ),
    "a person is waited for while another tool runs: that comes first": (
        [("turn", 0, 20, None), ("wait", 2, 12, "turn"), ("tool.a", 1, 18, "turn")],
        {},
        {"person": 10, "tools": 7, "model": 3},
    ),
    "hooks before, within and after a tool": (
        [
            ("turn", 0, 20, None),
            ("tool", 5, 10, "turn"),
            *(("hook.pre", 4, 5, "tool"), ("hook.in", 6, 7, "tool"), ("hook.post", 10, 12, "tool")),
        ],
        {},
        {"hooks": 4, "tools": 4, "model": 12},
    ),
    "a hook without a duration, and what takes no time": (
        [("turn", 0, 10, None), ("unmeasured", 3, 3, "turn"), ("tool", 4, 4, "turn")],
        {},
        {"model": 10},
    ),
    "a compaction": (
        [("turn", 0, 30, None), ("compact", 10, 25, "turn")],
        {},
        {"compaction": 15, "model": 15},
    ),
    "a compaction whose helper asks the model and has a hook": (
        [
            ("turn", 0, 30, None),
            ("compact", 10, 20, "turn"),
            ("compactor", 9, 25, "turn"),
            ("hook", 12, 13, "compactor"),
        ],
        {},
        {"compaction": 16, "model": 14},
    ),
    "a request fails twice and is tried again": (
        [("turn", 0, 30, None), ("error.1", 5, 5, "turn"), ("error.2", 8, 8, "turn")],
        {"error.1": {ATTEMPT: 1, DELAY: 2.0}, "error.2": {ATTEMPT: 2, DELAY: 4.5}},
        {"retries": 7.5, "model": 22.5},
    ),
    "a request fails and is given up": (
        [("turn", 0, 10, None), ("error", 9, 9, "turn")],
        {"error": {}},
        {"model": 10},
    ),
    "the wait before the next attempt ends with the turn": (
        [("turn", 0, 10, None), ("error", 8, 8, "turn")],
        {"error": {ATTEMPT: 1, DELAY: 60.0}},
        {"retries": 2, "model": 8},
    ),
    "requests are told of: the rest is idle": (
        [
            ("turn", 0, 20, None),
            *(("chat.a", 1, 5, "turn"), ("tool", 5, 9, "turn"), ("chat.b", 10, 16, "turn")),
        ],
        {"chat.a": {FIRST: 1.5}, "chat.b": {FIRST: 2.0}},
        {"model": 10, "tools": 4, "idle": 6, "first": 3.5},
    ),
    "a turn tells when the first part came": (
        [("turn", 0, 20, None), ("tool", 5, 9, "turn")],
        {"turn": {FIRST: 6.0}},
        {"model": 16, "tools": 4, "first": 5},
    ),
    "a sub-agent that is waited for: what it does": (
        [
            ("turn", 0, 40, None),
            *(("tool", 5, 35, "turn"), ("spawn", 5, 8, "tool"), ("run", 6, 34, "tool")),
            *(("tool.in", 10, 20, "run"), ("wait.in", 20, 24, "run"), ("hook.in", 24, 25, "run")),
        ],
        {},
        {"model": 23, "tools": 12, "person": 4, "hooks": 1},
    ),
    "two sub-agents side by side: of each moment the first phase": (
        [
            ("turn", 0, 30, None),
            *(("tool.a", 2, 22, "turn"), ("run.a", 2, 22, "tool.a"), ("tool.x", 4, 12, "run.a")),
            *(("tool.b", 2, 28, "turn"), ("run.b", 2, 28, "tool.b"), ("wait.y", 10, 26, "run.b")),
        ],
        {},
        {"person": 16, "tools": 6, "model": 8},
    ),
    "a sub-agent in the background, while the model goes on": (
        [
            ("turn", 0, 20, None),
            *(("tool", 4, 5, "turn"), ("run", 5, 60, "tool"), ("tool.in", 6, 50, "run")),
            ("tool.b", 10, 13, "turn"),
        ],
        {},
        {"model": 16, "tools": 4, "behind": 40},
    ),
    "nothing is at work between a turn and a sub-agent that begins long after its end": (
        [("turn", 0, 20, None), ("run", 1600, 1687, "turn")],
        {},
        {"model": 20, "behind": 87},
    ),
    "nor between two of them": (
        [
            ("turn", 0, 20, None),
            *(("tool.a", 4, 5, "turn"), ("run.a", 5, 50, "tool.a")),
            *(("tool.b", 6, 7, "turn"), ("run.b", 100, 130, "tool.b")),
            *(("tool.c", 8, 9, "turn"), ("run.c", 120, 140, "tool.c")),
        ],
        {},
        {"model": 17, "tools": 3, "behind": 30 + 40},
    ),
    "the turn waits for its sub-agent in the background, as its requests show": (
        [
            ("turn", 0, 30, None),
            *(("chat.a", 0, 4, "turn"), ("tool", 4, 5, "turn"), ("run", 5, 20, "tool")),
            *(("tool.in", 8, 18, "run"), ("chat.b", 21, 30, "turn")),
        ],
        {},
        {"model": 18, "tools": 11, "idle": 1},
    ),
    "what is unfinished ends with its last sign of life, or with the turn": (
        [("turn", 0, 20, None), ("tool.a", 2, 4, "turn"), ("tool.b", 15, 90, "turn")],
        {},
        {"tools": 7, "model": 13},
    ),
    "spans without a caller are the only turn's; what a program adds is a tool's": (
        [("turn", 0, 20, None), ("hook", 3, 6, "gone"), ("query", 10, 11, "turn")],
        {},
        {"hooks": 3, "tools": 1, "model": 16},
    ),
    "a sub-agent with turns of its own is idle between them": (
        [
            ("turn", 0, 40, None),
            *(("tool", 0, 40, "turn"), ("run", 0, 40, "tool")),
            *(
                ("inner.a", 0, 10, "run"),
                ("inner.b", 25, 40, "run"),
                ("tool.in", 30, 35, "inner.b"),
            ),
        ],
        {},
        {"model": 20, "tools": 5, "idle": 15},
    ),
    "times in whole milliseconds: what follows begins before it ends": (
        [("turn", 0, 10, None), ("tool.a", 1, 4.001, "turn"), ("wait.b", 4, 7, "turn")],
        {},
        {"tools": 3, "person": 3, "model": 4},
    ),
}


def spans(made: Sequence[Made]) -> list[Outline]:
    ids = {label: number for number, (label, *_) in enumerate(made, 1)}
    found = []
    for label, start, end, caller in made:
        kind, _, who = label.partition(".")
        operation, name = KINDS[kind]
        agent = {"run": f"agent-{who}", "compactor": "compact"}.get(kind)
        found.append(
            Outline(
                trace_id="t",
                span_id=ids[label],
                parent_span_id=None if caller is None else ids.get(caller, 999),
                name=name,
                operation=operation,
                start_ns=int(start * S),
                end_ns=int(end * S),
                status=1,
                error_type=None,
                session_id="s",
                agent="compact" if kind == "compactor" else None,
                agent_id=agent,
            )
        )
    found.sort(key=lambda span: (span.start_ns, -span.end_ns, span.span_id))
    return found


def units(
    made: Sequence[Made], told: Mapping[str, dict[str, Any]] | None = None, *, apart: bool = False
) -> list[phases.Unit]:
    ids = {label: number for number, (label, *_) in enumerate(made, 1)}
    said = {("t", ids[label]): values for label, values in (told or {}).items()}
    return phases.of_trace(spans(made), said, apart=apart)


def seconds(unit: phases.Unit) -> dict[str, float]:
    """The phases that took any time, and the two figures beside them."""
    found: dict[str, float] = {
        phase: length / S for phase, length in unit.lengths().items() if length
    }
    if unit.first_ns is not None:
        found["first"] = unit.first_ns / S
    if unit.behind_ns:
        found["behind"] = unit.behind_ns / S
    return found


@pytest.mark.parametrize("name", KNOWN)
def test_the_phases_of_a_turn_are_those_worked_out_by_hand(name: str) -> None:
    made, told, expected = KNOWN[name]
    (unit,) = units(made, told)
    assert seconds(unit) == expected
    assert sum(unit.lengths().values()) == unit.end_ns - unit.start_ns
    assert sum(expected[phase] for phase in expected if phase in phases.PHASES) == made[0][2]


def test_there_are_at_least_twenty_of_them() -> None:
    assert len(KNOWN) >= 20


def test_each_agents_own_time_is_looked_at_apart() -> None:
    made: list[Made] = [
        ("turn", 0, 40, None),
        *(("tool", 5, 35, "turn"), ("run.a", 6, 34, "tool"), ("tool.a", 10, 20, "run.a")),
        *(("tool.b", 20, 30, "run.a"), ("run.b", 20, 30, "tool.b"), ("wait", 22, 25, "run.b")),
    ]
    found = {unit.agent: seconds(unit) for unit in units(made, apart=True)}
    assert found == {
        None: {"agents": 28, "tools": 2, "model": 10},
        "agent-a": {"tools": 10, "agents": 10, "model": 8},
        "agent-b": {"person": 3, "model": 7},
    }


def test_an_agent_in_the_background_is_the_turns_that_started_it() -> None:
    made: list[Made] = [
        ("turn", 0, 20, None),
        *(("tool", 4, 5, "turn"), ("run", 5, 60, "tool"), ("tool.in", 6, 50, "run")),
    ]
    (first,) = units(made)
    later = phases.of_trace(
        [span._replace(trace_id="u") for span in spans([("turn", 30, 70, None)])]
    )
    assert seconds(later[0]) == {"model": 40}
    whole = phases.added(phases.together([first, *later]))
    # From 20 to 30 only the agent works; then the turn that follows comes first.
    assert {phase: length / S for phase, length in whole.items() if length} == {
        "model": 19 + 40,
        "tools": 1 + 10,
    }


def test_a_session_is_idle_between_its_turns_and_counts_once_where_they_overlap() -> None:
    one, two = (
        phases.of_trace([span._replace(trace_id=trace) for span in spans(made)])[0]
        for trace, made in (
            ("t", [("turn", 0, 10, None), ("tool", 2, 8, "turn")]),
            ("u", [("turn", 6, 12, None)]),
        )
    )
    three = phases.of_trace(
        [span._replace(trace_id="v") for span in spans([("turn", 20, 25, None)])]
    )
    whole = phases.added(phases.together([one, two, *three]))
    assert {phase: length / S for phase, length in whole.items() if length} == {
        "tools": 6,
        "model": 2 + 4 + 5,
        "idle": 8,
    }


@pytest.mark.parametrize("seed", range(40))
def test_whatever_a_trace_holds_phases_add_up(seed: int) -> None:
    """Random trees, callers that are not there, circles, and children outside of their callers."""
    chance = random.Random(seed)
    made: list[Made] = [("turn", 0, 100, None)]
    for number in range(chance.randrange(60)):
        kind = chance.choice([*KINDS, "tool", "run"])
        start = chance.uniform(-20, 120)
        callers = [label for label, *_ in made] + ["gone", f"tool.{number + 1}"]
        made.append(
            (f"{kind}.{number}", start, start + chance.expovariate(0.05), chance.choice(callers))
        )
    told = {
        label: {
            ATTEMPT: chance.randrange(3),
            DELAY: chance.uniform(0, 20),
            FIRST: chance.uniform(0, 9),
        }
        for label, *_ in made
    }
    for apart in (False, True):
        for unit in units(made, told, apart=apart):
            assert sum(unit.lengths().values()) == unit.end_ns - unit.start_ns
            assert unit.start_ns == unit.pieces[0][0] if unit.pieces else True
            for before, after in zip(unit.pieces, unit.pieces[1:], strict=False):
                assert before[1] == after[0]
