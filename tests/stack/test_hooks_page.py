"""The page of hooks: each hook's figures, from the spans of turns and orchestrations."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import pytest
from tests.stack import boards, workload
from tests.stack.boards import Span
from tests.stack.conftest import counted, eventually

from orchwatch import semconv

if TYPE_CHECKING:
    from tests.stack.boards import Json

    from native import Stack

pytestmark = pytest.mark.xdist_group("shared stack")

HOUR_S = 3600
NS_PER_S = 1e9


def _arrived(stack: Stack, service: str, spans: list[Json]) -> None:
    workload.write(stack, service, spans)
    assert eventually(lambda: counted(stack, service=service) == len(spans))
    query = f'{{ resource.service.name = "{service}" }}'
    assert eventually(lambda: boards.number_of_spans(stack, query, Span.last(HOUR_S)) == len(spans))


def _hooks(stack: Stack, service: str) -> dict[tuple[str, str], Json]:
    rows = boards.rows(stack, "hooks", "Each hook", Span.last(HOUR_S), service=service)
    return {(row["Hook"], row["Event"]): row for row in rows}


def test_each_hook_has_its_own_p95_share_of_turns_failures_and_timeouts(stack: Stack) -> None:
    # One trace holds more spans of a hook than a search gives back of it.
    trace, other = secrets.token_hex(16), secrets.token_hex(16)
    lint: dict[str, Any] = {"hook": "lint.sh", "event": "PreToolUse"}
    spans = [
        *(workload.ended(semconv.HOOK_PROCESS, 0.010, trace=trace, **lint) for _ in range(190)),
        *(workload.ended(semconv.HOOK_PROCESS, 0.300, trace=trace, **lint) for _ in range(10)),
        workload.ended(semconv.HOOK_PROCESS, 2, trace=other, error="hook_timeout", **lint),
        workload.ended(semconv.HOOK_PROCESS, 0.5, trace=other, error="hook_failed", event="Stop"),
        workload.ended(semconv.AGENT_TURN, 60, trace=trace),
        workload.ended(semconv.ORCHESTRATION_RUN, 40, trace=other),
        # What ran inside a turn is no turn.
        workload.ended(semconv.AGENT_RUN, 900, trace=trace, agent="Explore"),
    ]
    _arrived(stack, "true-hooks", spans)
    found = _hooks(stack, "true-hooks")
    assert set(found) == {("lint.sh", "PreToolUse"), ("nil", "Stop")}
    first, second = found["lint.sh", "PreToolUse"], found["nil", "Stop"]
    assert (first["Count"], first["Failed"], first["Timed out"]) == (201, 1, 1)
    assert (second["Count"], second["Failed"], second["Timed out"]) == (1, 1, 0)
    assert first["p95"] == pytest.approx(0.300 * NS_PER_S, rel=1e-3)
    assert first["Longest"] == 2 * NS_PER_S
    assert first["Share of turns"] == pytest.approx((1.9 + 3 + 2) / 100, rel=1e-3)
    assert second["Share of turns"] == pytest.approx(0.5 / 100, rel=1e-3)
    chosen = {"service": "true-hooks"}
    (ran,) = boards.numbers(stack, "hooks", "Hooks that ran", Span.last(HOUR_S), **chosen).values()
    failed = boards.numbers(stack, "hooks", "Hooks that failed", Span.last(HOUR_S), **chosen)
    assert (ran, list(failed.values())) == (202, [2])


def test_hooks_outside_of_turns_have_no_share_and_turns_without_hooks_no_row(stack: Stack) -> None:
    alone = [workload.ended(semconv.HOOK_PROCESS, 1, hook="alone", event="SessionStart")]
    _arrived(stack, "true-hook-alone", alone)
    (row,) = _hooks(stack, "true-hook-alone").values()
    assert row["Share of turns"] is None
    _arrived(stack, "true-no-hook", [workload.ended(semconv.AGENT_TURN, 1)])
    assert (
        boards.shown(stack, "hooks", "Each hook", Span.last(HOUR_S), service="true-no-hook") == []
    )


def test_each_plugin_has_the_figures_of_its_hooks_together(stack: Stack) -> None:
    trace = secrets.token_hex(16)
    own: dict[str, Any] = {"trace": trace, "plugin": "superpowers"}
    spans = [
        *(workload.ended(semconv.HOOK_PROCESS, 0.1, hook="a", event="Stop", **own) for _ in "1234"),
        workload.ended(semconv.HOOK_PROCESS, 1.6, hook="b", event="PreToolUse", error="E", **own),
        workload.ended(semconv.HOOK_PROCESS, 0.5, hook="mine", event="Stop", trace=trace),
        workload.ended(semconv.AGENT_TURN, 20, trace=trace),
    ]
    _arrived(stack, "true-plugins", spans)
    span = Span.last(HOUR_S)
    rows = boards.rows(stack, "hooks", "Each plugin", span, service="true-plugins")
    found = {row["Plugin"]: row for row in rows}
    assert set(found) == {"superpowers", "nil"}
    plugin = found["superpowers"]
    assert (plugin["Count"], plugin["Failed"], plugin["Timed out"]) == (5, 1, 0)
    assert plugin["p95"] == plugin["Longest"] == pytest.approx(1.6 * NS_PER_S, rel=1e-3)
    assert plugin["Share of turns"] == pytest.approx(2.0 / 20, rel=1e-3)
    assert found["nil"]["Count"] == 1
