from __future__ import annotations

from orchwatch.agents.sessions import ids


def test_ids_are_stable_for_ever() -> None:
    # Stored traces and imports that run again depend on these very values.
    assert ids.trace_id("s", "p") == "9032fa62098b227ceb1a69aedc24e13d"
    assert ids.turn("s", "p") == "7be88ac443e2554b"
    assert ids.tool("s", "t") == "8c3b39d6164b7e99"


def test_ids_of_different_things_differ() -> None:
    made = {
        ids.session_init("s"),
        ids.turn("s", "x"),
        ids.agent_turn("s", "x", "x"),
        ids.tool("s", "x"),
        ids.agent_run("s", "x"),
        ids.agent_spawn("s", "x"),
        ids.event("hook", "s", "x"),
        ids.event("compact", "s", "x"),
        ids.turn("sx", ""),
    }
    assert len(made) == 9
    assert {len(span_id) for span_id in made} == {16}
    assert len(ids.trace_id("s", "")) == 32
