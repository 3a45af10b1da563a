"""What tables of traces show, after a workload that once made them say something else."""

from __future__ import annotations

import secrets
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from tests.stack import boards, workload
from tests.stack.boards import Span
from tests.stack.conftest import counted, eventually

from orchwatch import semconv
from orchwatch.mixin.dashboards import queries

if TYPE_CHECKING:
    from native import Stack

pytestmark = pytest.mark.xdist_group("shared stack")

LOADS = 10
HOUR_S = 3600


def arrived(stack: Stack, service: str, number: int) -> None:
    """Waits until Prometheus has counted the operations of a service, and Tempo has them."""
    assert eventually(lambda: counted(stack, service=service) == number)
    query = f'{{ resource.service.name = "{service}" }}'
    assert eventually(lambda: boards.number_of_spans(stack, query, Span.last(HOUR_S)) == number)


def test_the_slowest_of_many_is_found_with_its_agent_in_every_load(stack: Stack) -> None:
    many = [workload.ended(semconv.STATE_QUERY, 0.002 + i / 1e5, agent="quick") for i in range(149)]
    slow = workload.ended(semconv.STATE_QUERY, 0.901, agent="slow", session="s-1", ago_s=60)
    workload.write(stack, "true-slowest", [slow, *many])
    arrived(stack, "true-slowest", 150)
    chosen = {"service": "true-slowest", "operation": semconv.STATE_QUERY}
    for _ in range(LOADS):
        first, *others = boards.rows(
            stack, "operations", "Slowest by session", Span.last(HOUR_S), **chosen
        )
        found = (first["Agent"], first["Session"], first["Longest"], first["Count"])
        assert found == ("slow", "s-1", 901_000_000, 1)
        assert (first["Trace"].zfill(32), first["Span"]) == (slow["traceId"], slow["spanId"])
        assert sum(row["Count"] for row in others) == 149
        agents = boards.rows(stack, "operations", "By agent", Span.last(HOUR_S), **chosen)
        assert [(row["Agent"], row["Count"]) for row in agents] == [("slow", 1), ("quick", 149)]
        assert agents[0]["Mean"] == agents[0]["Longest"] == 901_000_000


def test_a_session_is_called_by_its_name_where_it_has_one(stack: Stack) -> None:
    name = "shop · 2026-11-30 19:52:07Z"
    spans = [
        workload.ended(semconv.STATE_QUERY, 0.2, session="s-shop", named=name),
        workload.ended(semconv.STATE_QUERY, 0.1, session="s-none"),
    ]
    workload.write(stack, "true-projects", spans)
    arrived(stack, "true-projects", len(spans))
    chosen = {"service": "true-projects", "operation": semconv.STATE_QUERY}
    rows = boards.rows(stack, "operations", "Slowest by session", Span.last(HOUR_S), **chosen)
    found = [(row["Session"], row["session"]) for row in rows]
    assert found == [(name, "s-shop"), ("s-none", "s-none")]


def test_the_slowest_span_of_a_trace_counts_however_few_of_them_come_back(stack: Stack) -> None:
    trace = secrets.token_hex(16)
    took_s = [0.001] * 300 + [2.5] + [0.001] * 299
    spans = [workload.ended(semconv.TOOL_EXECUTE, one, trace=trace, agent="a") for one in took_s]
    workload.write(stack, "true-trace", spans)
    arrived(stack, "true-trace", 600)
    chosen = {"service": "true-trace", "operation": semconv.TOOL_EXECUTE}
    (row,) = boards.rows(stack, "operations", "By agent", Span.last(HOUR_S), **chosen)
    assert (row["Count"], row["Longest"]) == (600, 2_500_000_000)
    assert row["Mean"] == pytest.approx(sum(took_s) / 600 * 1e9)


def test_beyond_what_a_search_takes_the_slowest_are_found_and_the_titles_say_what_is_left_out(
    stack: Stack,
) -> None:
    number = queries.TRACES + 500
    many = [workload.ended(semconv.HOOK_PROCESS, 0.002, agent="quick") for _ in range(number)]
    # The oldest, which the newest of a search leave out.
    slow = workload.ended(semconv.HOOK_PROCESS, 3.3, agent="slow", ago_s=300)
    workload.write(stack, "true-many", [slow, *many])
    arrived(stack, "true-many", number + 1)
    chosen = {"service": "true-many", "operation": semconv.HOOK_PROCESS}
    values = boards.variables(stack, "operations", Span.last(HOUR_S), chosen)
    for _ in range(LOADS):
        rows = boards.rows(stack, "operations", "Slowest by session", Span.last(HOUR_S), **chosen)
        assert [(row["Agent"], row["Longest"]) for row in rows] == [("slow", 3_300_000_000)]
    titles = [boards.filled(one["title"], values) for one in boards.panels("operations")]
    assert f"By agent: the newest {queries.TRACES} of {number + 1}" in titles
    (slowest,) = (one for one in titles if one.startswith("Slowest"))
    assert 0.002 <= float(slowest.split()[-2]) < 3.3


def test_a_table_of_the_newest_is_the_same_in_every_load(stack: Stack) -> None:
    spans = [
        workload.ended(semconv.AGENT_TASK, 1 + i, session=f"true-{i}", agent=f"a{i}", ago_s=i)
        for i in range(150)
    ]
    workload.write(stack, "true-newest", spans)
    arrived(stack, "true-newest", 150)
    span = Span.last(HOUR_S)
    newest = {one["traceId"].lstrip("0") for one in spans[:100]}
    for _ in range(LOADS):
        rows = boards.rows(stack, "session", "Turns and", span, session="true-.*")
        assert {row["Trace"].lstrip("0") for row in rows} == newest


def test_each_agent_of_each_session_has_a_row_that_no_other_cuts_off(stack: Stack) -> None:
    # Ids that begin alike, agents of one name and ids, and pieces that overlap between sessions.
    sessions = [f"7e57b0a4-0000-4000-8000-{number:012d}" for number in (1, 2)]
    spans = []
    for later_s, session in enumerate(sessions):
        for agent, operation, took_s in (
            ("", semconv.AGENT_TURN, 20),
            ("Explore", semconv.AGENT_RUN, 15),
            ("worker", semconv.AGENT_TASK, 30),
        ):
            agent_id = "a1" if agent == "Explore" else ""
            name = "" if later_s else "shop · 2026-11-30 19:52:07Z"
            more = {"session": session, "agent": agent, "agent_id": agent_id, "named": name}
            spans += [
                workload.ended(operation, took_s, ago_s=100 - later_s, **more),
                workload.ended(operation, took_s, ago_s=60 - later_s, **more),
            ]
    workload.write(stack, "true-busy", spans)
    arrived(stack, "true-busy", len(spans))
    expected = sorted(
        (int(one["startTimeUnixNano"]) // 10**6, int(one["endTimeUnixNano"]) // 10**6)
        for one in spans
    )
    for _ in range(LOADS):
        frames = boards.shown(
            stack, "agents", "Who was busy", Span.last(HOUR_S), session="7e57b0a4-.*"
        )
        columns = [name for one in frames for name in one.columns]
        assert [name for name in columns if name.startswith(("7e57", "shop"))] == [
            f"{whose} {agent}"
            for whose in ("shop · 11-30 19:52", "7e57b0a4")
            for agent in ("Explore a1", "main agent", "worker")
        ]
        pieces = []
        for frame in frames:
            (began,) = (v for k, v in frame.columns.items() if k.startswith("Start time"))
            row = sorted(zip(began, frame.columns["End"], strict=True))
            assert all(end <= begin for (_, end), (begin, _) in pairwise(row))
            pieces += [(int(begin), int(end)) for begin, end in row]
        assert sorted(pieces) == expected


def test_who_called_whom_says_how_often_and_how_much_failed_in_one_order(stack: Stack) -> None:
    more: dict[str, Any] = {"session": "true-calls", "trace": secrets.token_hex(16)}
    turn = workload.ended(semconv.AGENT_TURN, 20, **more)
    below = [
        workload.ended(semconv.AGENT_RUN, 9, agent="Explore", **more),
        workload.ended(semconv.AGENT_RUN, 9, agent="Explore", error="E", **more),
        *(
            workload.ended(semconv.TOOL_EXECUTE, 1, agent="Explore", tool="Bash", **more)
            for _ in range(3)
        ),
        *(workload.ended(semconv.TOOL_EXECUTE, 1, tool="Read", **more) for _ in range(4)),
        workload.ended(semconv.TOOL_EXECUTE, 1, tool="Read", error="E", **more),
    ]
    for one in below:
        one["parentSpanId"] = turn["spanId"]
    workload.write(stack, "true-calls", [turn, *below])
    arrived(stack, "true-calls", 1 + len(below))
    for _ in range(LOADS):
        rows = boards.rows(
            stack, "agents", "Who called whom", Span.last(HOUR_S), session="true-calls"
        )
        said = ("source", "target", "mainstat", "secondarystat")
        # Numbers: Grafana adds them up on the nodes that the lines lead to.
        assert [tuple(row[one] for one in said) for row in rows] == [
            ("agent.turn", "Explore", 2, 1),
            ("agent.turn", "Read", 5, 1),
            ("Explore", "Bash", 3, 0),
        ]
