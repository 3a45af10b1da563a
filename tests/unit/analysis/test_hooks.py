from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.conftest import NOW_NS

from orchwatch.analysis import hooks
from orchwatch.store import small
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.conftest import Record

S = 10**9
EVENT, NAME = "orchestration.hook.event_name", "orchestration.hook.name"


@pytest.fixture
def put(record: Record) -> Callable[..., None]:
    """Records a span of a turn, from second to second of it; `at` is when the turn began."""

    def write(  # noqa: PLR0917 - a line of a table
        name: str,
        start_s: float,
        end_s: float,
        ids: tuple[str, str, str],
        more: dict[str, Any] | None = None,
        at: int = -1000,
        **options: Any,
    ) -> None:
        trace, span, parent = ids
        record(
            name,
            name=name,
            end_ns=NOW_NS + at * S + round(end_s * S),
            duration_ns=round((end_s - start_s) * S),
            trace_id=f"{int(trace, 16):032x}",
            span_id=f"{int(span, 16):016x}",
            parent_span_id=f"{int(parent, 16):016x}" if parent else "",
            attributes={"session.id": "s", **(more or {})},
            **options,
        )

    return write


def measured(home: Path) -> dict[str, hooks.Hook]:
    """By name; DuckDB says the same."""
    found = small.read(home)
    assert found is not None
    answer = hooks.measure(found, Selection(history=True))
    with Store(home) as store:
        assert hooks.measure(store, Selection(history=True)) == answer
    return {f"{hook.event} {hook.name}": hook for hook in answer.hooks}


def test_what_a_turn_would_take_without_a_hook_is_what_waited_for_it(
    home: Path, put: Callable[..., None]
) -> None:
    put("agent.turn", 0, 20, ("1", "1", ""))
    put("tool.execute", 2, 12, ("1", "2", "1"))
    # Alone, then beside a longer one, then one that nothing waits for.
    put("hook.process", 2, 6, ("1", "3", "2"), {EVENT: "PreToolUse", NAME: "slow.sh"})
    put("hook.process", 13, 15, ("1", "4", "1"), {EVENT: "Stop", NAME: "short.sh"})
    put("hook.process", 13, 18, ("1", "5", "1"), {EVENT: "Stop", NAME: "long.sh"})
    put("agent.turn", 0, 20, ("2", "6", ""), at=-500)
    found = measured(home)
    slow, short, long = (
        found[name] for name in ("PreToolUse slow.sh", "Stop short.sh", "Stop long.sh")
    )
    assert (slow.turns, slow.turn_s, slow.turn_without_s) == (1, 20, 16)
    assert (slow.turn_share, short.turn_share) == (4 / 40, 2 / 40)
    assert short.turn_without_s == 20
    # Without the long one, the short one is waited for.
    assert long.turn_without_s == 17
    assert list(found) == ["PreToolUse slow.sh", "Stop long.sh", "Stop short.sh"]


def test_runs_are_counted_with_what_failed_was_late_or_objected(
    home: Path, put: Callable[..., None]
) -> None:
    put("agent.turn", 0, 100, ("1", "1", ""))
    own = {EVENT: "PreToolUse", NAME: "check"}
    for number in range(1, 21):
        ids = ("1", f"{number + 10:x}", "1")
        put("hook.process", number, number + number / 1000, ids, own)
    put("hook.process", 50, 51, ("1", "a1", "1"), own, failed=True)  # by a TimeoutError
    put("hook.process", 60, 61, ("1", "a2", "1"), {**own, "error.type": "hook_failed"})
    put(
        "hook.process", 70, 70.5, ("1", "a3", "1"), {**own, "orchestration.hook.outcome": "blocked"}
    )
    (hook,) = measured(home).values()
    assert (hook.count, hook.unmeasured, hook.failures, hook.timeouts, hook.blocked) == (
        *(23, 0, 1, 1, 1),
    )
    assert (hook.p50_s, hook.p95_s) == (0.012, 1.0)


def test_a_run_of_unknown_length_is_counted_apart(home: Path, record: Record) -> None:
    record(None, name="hook.process", duration_ns=0, attributes={EVENT: "Stop", NAME: "Stop"})
    (hook,) = measured(home).values()
    assert (hook.count, hook.unmeasured, hook.p50_s, hook.turn_share) == (0, 1, None, None)


def test_without_a_turn_what_nothing_called_stands_for_it(
    home: Path, put: Callable[..., None]
) -> None:
    put("agent.task", 0, 10, ("1", "1", ""))
    put("hook.process", 4, 6, ("1", "2", "1"))
    put("hook.process", 0, 1, ("2", "3", ""))  # belongs to nothing
    put("hook.process", 0, 1, ("3", "4", "ff"))  # whose caller nobody stored
    (hook,) = measured(home).values()
    assert (hook.count, hook.turns, hook.turn_s, hook.turn_without_s) == (4 - 1, 1, 10, 8)
    assert hook.turn_share == 0.2


def test_a_hook_after_the_turn_costs_it_nothing(home: Path, put: Callable[..., None]) -> None:
    put("agent.turn", 0, 10, ("1", "1", ""))
    put("hook.process", 10, 14, ("1", "2", "1"), {EVENT: "SessionEnd"})
    (hook,) = measured(home).values()
    assert (hook.turn_share, hook.turn_s, hook.turn_without_s) == (0, 10, 10)


def test_only_the_latest_turns_are_run_again(
    home: Path, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "TURNS", 2)
    for number in range(1, 4):
        trace = f"{number:x}"
        put("agent.turn", 0, 10, (trace, f"{number}0", ""), at=-1000 + 20 * number)
        put(
            "hook.process",
            1,
            1 + number,
            (trace, f"{number}1", f"{number}0"),
            at=-1000 + 20 * number,
        )
    (hook,) = measured(home).values()
    assert (hook.count, hook.turns, hook.turn_without_s) == (3, 2, 10 - 2.5)
    store = small.read(home)
    assert store is not None
    assert hooks.measure(store, Selection())[1:] == (2, 3)


def test_names_are_whole_whatever_they_hold(home: Path, record: Record) -> None:
    names = [
        'quote " and \\ and ]',
        "ünï → 日本",
        "tab\tand\nline",
        '","value":{"stringValue":"x"}',
    ]
    for name in names:
        record("hook.process", attributes={EVENT: "Stop", NAME: name})
    assert {hook.name for hook in measured(home).values()} == set(names)
