"""What Grafana offers to choose among, and what a page shows before anything is chosen."""

from __future__ import annotations

import secrets
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from tests.stack import boards, workload
from tests.stack.boards import Span
from tests.stack.conftest import eventually

from orchwatch import semconv
from orchwatch.mixin.dashboards.computed import NO_TRACE

if TYPE_CHECKING:
    from native import Stack

pytestmark = pytest.mark.xdist_group("shared stack")

LOADS = 10
HOUR_S = 3600
NAME = "shop · 2026-11-30 19:52:07Z"


def arrived(stack: Stack, service: str, number: int) -> None:
    """Waits until Tempo has the spans of a service."""
    query = f'{{ resource.service.name = "{service}" }}'
    assert eventually(lambda: boards.number_of_spans(stack, query, Span.last(HOUR_S)) == number)


def sessions(stack: Stack) -> dict[str, str]:
    """The text of each session that can be chosen, by its id."""
    offered = boards.options(stack, boards.variable("session", "session"), Span.last(HOUR_S), {})
    assert [text for _, text in offered] == sorted(text for _, text in offered)
    return dict(offered)


def test_each_session_is_offered_once_by_its_name_and_chosen_by_its_id(stack: Stack) -> None:
    read, unread, own = str(uuid.uuid4()), str(uuid.uuid4()), f"build-{secrets.token_hex(4)}"
    agents: dict[str, Any] = {"session": read, "conversation": read}
    spans = [
        workload.ended(semconv.AGENT_TURN, 2, named=NAME, **agents),
        workload.ended(semconv.TOOL_EXECUTE, 1, named=NAME, **agents),
        # What the agent's own programs and hooks record knows no name.
        workload.ended(semconv.STATE_QUERY, 0.5, **agents),
        workload.ended(semconv.HOOK_PROCESS, 0.5, **agents),
        # Of a file that does not say when it began.
        workload.ended(semconv.AGENT_TURN, 2, session=unread, conversation=unread),
        workload.ended(semconv.STATE_QUERY, 0.5, session=own),
    ]
    workload.write(stack, "chooser-sessions", spans)
    arrived(stack, "chooser-sessions", len(spans))
    expected = {read: NAME, unread: unread[:8], own: own}
    for _ in range(LOADS):
        offered = sessions(stack)
        assert {one: offered.get(one) for one in expected} == expected


def test_the_slowest_trace_is_shown_until_another_one_is_opened(stack: Stack) -> None:
    mine, others = f"slow-{secrets.token_hex(4)}", f"slow-{secrets.token_hex(4)}"
    # With a zero in front, which Tempo leaves out; and longer than whatever else is in the store.
    spans = [
        workload.ended(
            semconv.AGENT_TURN, took_s, trace=f"0{secrets.token_hex(16)[1:]}", session=whose
        )
        for took_s, whose in ((700, mine), (900, mine), (80_000, others))
    ]
    long, longer, longest = (one["traceId"].lstrip("0") for one in spans)
    # A part of a trace is none, and what is of no session is shown on no page of sessions.
    part = workload.ended(semconv.TOOL_EXECUTE, 85_000, session=others)
    part["parentSpanId"] = secrets.token_hex(8)
    spans += [part, workload.ended(semconv.AGENT_TURN, 86_000)]
    workload.write(stack, "chooser-traces", spans)
    arrived(stack, "chooser-traces", len(spans))

    def shown(seconds: float = HOUR_S, **chosen: str) -> str:
        values = boards.variables(stack, "session", Span.last(seconds), chosen)
        (target,) = boards.panel("session", "The trace")["targets"]
        return boards.filled(target["query"], values)

    for _ in range(LOADS):
        assert shown() == longest
        assert shown(session=mine) == longer
        assert shown(session=mine, trace=long) == long
        assert shown(session="nobody") == NO_TRACE
