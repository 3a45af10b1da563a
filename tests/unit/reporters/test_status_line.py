from __future__ import annotations

import re
from typing import Any

import pytest

from orchwatch.recording import safe_text
from orchwatch.reporters import status_line

S = 10**9


def snapshot(**changes: Any) -> dict[str, Any]:
    def row(p95_s: float | None, target_s: float | None, status: str) -> dict[str, Any]:
        count = 0 if p95_s is None else 10
        return {"count": count, "errors": count // 5, "p95_s": p95_s, "target_s": target_s,
                "status": status}  # fmt: skip

    return {
        "written_at_ns": 1000 * S,
        "interval_s": 30,
        "operations": {
            "session.init": row(0.000147, 0.1, "ok"),
            "state.query": row(0.0612, 0.05, "miss"),
            "recovery.run": row(None, 5, "unknown"),
            "review.run": row(90.0, None, "unknown"),
        },
        "levels": {
            "cpu.utilization": {"value": 0.41},
            "memory.utilization": {"value": 0.63},
            "task.success": {"value": 0.983},
        },
        "kpis": {
            "active_agents": 3, "tasks_per_hour": 23.4, "code_quality": 8.46,
            "efficiency_ratio": 0.5,
        },
        "alerts": [
            {"id": "cpu.utilization", "title": "CPU usage", "severity": "critical", "value": 0.91,
             "threshold": 0.85, "unit": "1", "recommendation": "Reduce agent concurrency"},
            {"id": "session.init", "title": "Session initialization", "severity": "warning",
             "value": 0.2, "threshold": 0.15, "unit": "s", "recommendation": "Look"},
        ],
        "health": {"score": 0.86, "status": "healthy"},
        "sessions": {"mine": {"memory_bytes": 314572800}},
        **changes,
    }  # fmt: skip


def line(columns: int, age: str | None = None, **changes: Any) -> str:
    return status_line.line(
        snapshot(**changes), columns=columns, colour=False, age=age, session_id="mine"
    )


def test_with_room_everything_is_said() -> None:
    assert line(200) == (
        "🟢 0.86 · state.query 61.2ms/50ms · 3 agents · 6 errors · cpu 41% mem 63% · session 300MiB"
        " · 🔥 CPU usage 91% > 85% +1: Reduce agent concurrency"
    )


def test_what_matters_least_goes_first() -> None:
    assert (
        line(80) == "🟢 0.86 · state.query 61.2ms/50ms · 3 agents · 6 errors · 🔥 CPU usage 91% +1"
    )
    assert line(40) == "🟢 0.86 · 3 agents · 🔥 CPU usage 91% +1"
    assert line(40, "12 min old") == "🟢 0.86 · 12 min old · 🔥 CPU usage 91%"
    assert line(24, "12 min old") == "🟢 0.86 · 12 min old"
    assert line(40, alerts=[]) == "🟢 0.86 · state.query 61.2ms · 3 agents"
    assert line(12) == "🟢 0.86 · 🔥"
    assert line(2) == "🟢"
    assert not line(1)


@pytest.mark.parametrize("columns", range(1, 201))
@pytest.mark.parametrize("age", [None, "12 min old"])
def test_no_line_is_too_wide_and_no_word_is_cut(columns: int, age: str | None) -> None:
    text = line(columns, age)
    assert safe_text.width(text) <= columns
    whole = line(1000, age)
    words = set(re.split(r"[ /:]", whole))
    assert set(re.split(r"[ /:]", text)) - {""} <= words


def test_wide_characters_count_twice() -> None:
    assert safe_text.width("🟢 0.86") == 7
    assert safe_text.width("状態 µs") == 7


def test_a_name_cannot_move_the_cursor_or_break_the_line() -> None:
    operations = {"a\x1b[2J\nb": {"count": 1, "errors": 0, "p95_s": 1, "target_s": 0.5,
                                  "status": "miss"}}  # fmt: skip
    text = line(200, operations=operations)
    assert "\x1b" not in text
    assert "\n" not in text


def test_what_was_not_measured_is_left_out() -> None:
    text = line(
        200,
        operations={},
        levels={"cpu.utilization": {"value": None}, "memory.utilization": {"value": 0.5}},
        kpis={"active_agents": None},
        alerts=[],
        sessions={},
        health={"score": None, "status": "unknown"},
    )
    assert text == "❓ · mem 50%"


def test_colours_follow_the_status() -> None:
    text = status_line.line(snapshot(), columns=200, colour=True, age=None, session_id=None)
    assert "\x1b[32m🟢 0.86\x1b[0m" in text
    assert "\x1b[31mstate.query 61.2ms/50ms\x1b[0m" in text
    assert re.sub("\x1b\\[[0-9]*m", "", text) == line(200, sessions={})


@pytest.mark.parametrize(
    ("seconds", "running", "said"),
    [
        (0, True, None),
        (65, True, None),
        (66, True, "1 min old"),
        (3, False, "3 s old"),
        (59, False, "59 s old"),
        (60 * 12 + 30, False, "12 min old"),
        (3600 * 3, False, "3 h old"),
        (86_400 * 5, True, "5 d old"),
        (-100, True, None),
    ],
)
def test_old_figures_say_so(seconds: int, running: bool, said: str | None) -> None:
    now_ns = (1000 + seconds) * S
    assert status_line.age(snapshot(), now_ns, running=running) == said


def test_the_structure_is_the_requirements() -> None:
    found = status_line.structure(snapshot(), 12.3456)
    assert found.pop("alerts") == snapshot()["alerts"]
    assert found == {
        "health": {"indicator": "🟢", "score": 0.86, "status": "healthy"},
        "performance": {"session_init": "0.1ms", "state_query": "61ms", "agents": 3},
        "resources": {"cpu": "41%", "memory": "63%", "efficiency": "50%"},
        "business": {"success_rate": "98%", "tasks_per_hour": "23", "quality": "8.5"},
        "age_s": 12.346,
    }
    empty = status_line.empty_structure("why")
    assert {
        key: set(value) - {"error"} for key, value in empty.items() if isinstance(value, dict)
    } == {key: set(value) for key, value in found.items() if isinstance(value, dict)}
