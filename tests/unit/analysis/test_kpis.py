from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import pytest

from orchwatch.analysis import kpis
from orchwatch.analysis.busy import Interval
from orchwatch.analysis.kpis import Kpis
from orchwatch.recording import spool
from orchwatch.store.database import Store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.conftest import Record

    from orchwatch.recording.otlp_json import AttributeValue

S = 10**9
START_NS = time.time_ns() - 600 * S


class During(Protocol):
    """Records a span from one second of the window to another."""

    def __call__(
        self,
        operation: str,
        start_s: float,
        end_s: float,
        agent: str | None = ...,
        *,
        agent_id: str | None = ...,
        session: str | None = ...,
        failed: bool = ...,
        span_id: str | None = ...,
        parent_span_id: str = ...,
        family: str = ...,
        trace_id: str | None = ...,
    ) -> None: ...


@pytest.fixture
def during(record: Record) -> During:
    def write(
        operation: str,
        start_s: float,
        end_s: float,
        agent: str | None = None,
        *,
        agent_id: str | None = None,
        session: str | None = "s1",
        failed: bool = False,
        span_id: str | None = None,
        parent_span_id: str = "",
        family: str = spool.OPERATIONS,
        trace_id: str | None = None,
    ) -> None:
        attributes: dict[str, AttributeValue] = {}
        named = {"gen_ai.agent.name": agent, "gen_ai.agent.id": agent_id, "session.id": session}
        attributes.update({key: value for key, value in named.items() if value is not None})
        record(
            operation,
            duration_ns=round((end_s - start_s) * S),
            end_ns=START_NS + round(end_s * S),
            failed=failed,
            attributes=attributes,
            span_id=span_id,
            parent_span_id=parent_span_id,
            family=family,
            trace_id=trace_id,
        )

    return write


def measured(home: Path, *, window_s: float | None = 600, now_s: float = 600) -> Kpis:
    now_ns = START_NS + round(now_s * S)
    since_ns = None if window_s is None else now_ns - round(window_s * S)
    with Store(home) as store:
        return kpis.measure(store, now_ns=now_ns, since_ns=since_ns)


def test_nothing_recorded_measures_nothing(home: Path) -> None:
    assert measured(home) == Kpis()
    assert measured(home, window_s=None) == Kpis()


def test_operations_without_agents_measure_no_agent(home: Path, during: During) -> None:
    during("state.query", 10, 20)
    assert measured(home) == Kpis()


def test_two_agents_that_overlap_for_a_known_share(home: Path, during: During) -> None:
    # One is busy from 100 to 200, the other from 150 to 250 and, after a pause, from 350 to 400.
    during("agent.task", 100, 200, "a")
    during("agent.task", 150, 250, "b")
    during("agent.task", 350, 400, "b", failed=True)
    found = measured(home)
    assert found.parallel_ratio == pytest.approx(50 / 200)
    assert found.agent_utilization == pytest.approx(250 / (100 + 250))
    assert found.efficiency_ratio == pytest.approx(200 / 350)
    assert found.success_ratio == pytest.approx(2 / 3)
    assert found.error_ratio == pytest.approx(1 / 3)
    assert found.tasks_per_hour == pytest.approx(12)


def test_spans_of_one_agent_that_overlap_count_once(home: Path, during: During) -> None:
    during("agent.task", 100, 200, "a")
    during("tool.execute", 120, 180, "a")
    during("state.query", 190, 210, "a")
    during("tool.execute", 300, 310, "a")
    found = measured(home)
    assert found.agent_utilization == pytest.approx(120 / 210)
    assert found.parallel_ratio is None


def test_three_agents_at_once_are_as_parallel_as_two(home: Path, during: During) -> None:
    for agent in "abc":
        during("agent.task", 100, 200, agent)
    during("agent.task", 200, 300, "a")
    assert measured(home).parallel_ratio == pytest.approx(0.5)


def test_agents_of_one_name_in_two_sessions_are_two_and_no_team(home: Path, during: During) -> None:
    during("agent.task", 100, 200, "a", session="s1")
    during("agent.task", 198, 300, "a", session="s2")
    found = measured(home)
    assert (found.agents, found.parallel_ratio) == (2, None)


def test_an_agent_on_its_own_says_nothing_about_the_team_of_another_session(
    home: Path, during: During
) -> None:
    during("agent.task", 0, 500, "alone", session="s1")
    during("agent.task", 100, 200, "a", session="s2")
    during("agent.task", 150, 250, "b", session="s2")
    assert measured(home).parallel_ratio == pytest.approx(50 / 150)


def test_agents_without_a_session_are_one_team(home: Path, during: During) -> None:
    during("agent.task", 100, 200, "a", session=None)
    during("agent.task", 200, 300, "b", session=None)
    assert measured(home).parallel_ratio == 0


def test_an_agent_that_was_only_started_makes_no_team(home: Path, during: During) -> None:
    during("agent.task", 100, 200, "a")
    during("agent.spawn", 120, 130, "b")
    found = measured(home)
    assert (found.agents, found.parallel_ratio) == (2, None)


def test_a_tool_that_an_agent_calls_in_its_task_makes_no_second_agent(
    home: Path, during: During
) -> None:
    during("agent.task", 100, 200, "a", span_id="a" * 16)
    during("tool.execute", 120, 130, parent_span_id="a" * 16)
    found = measured(home)
    assert (found.agents, found.parallel_ratio) == (1, None)


def test_agents_of_one_type_are_identified_by_their_ids(home: Path, during: During) -> None:
    during("agent.run", 100, 200, "Explore", agent_id="1")
    during("agent.run", 150, 250, "Explore", agent_id="2")
    assert measured(home).parallel_ratio == pytest.approx(50 / 150)


def test_handing_work_to_one_agent_after_another_is_not_parallel(
    home: Path, during: During
) -> None:
    during("agent.turn", 0, 300)
    during("tool.execute", 50, 150, span_id="a" * 16)
    during("agent.run", 50, 150, "Explore", agent_id="1", parent_span_id="a" * 16)
    during("tool.execute", 200, 250, span_id="b" * 16)
    during("agent.run", 200, 250, "Plan", agent_id="2", parent_span_id="b" * 16)
    found = measured(home)
    assert found.parallel_ratio == 0
    # The main agent is busy for 150 of its 300 seconds, the others all of their time.
    assert found.agent_utilization == pytest.approx(300 / 450)


def test_two_agents_started_at_once_and_a_tool_beside_them(home: Path, during: During) -> None:
    during("agent.turn", 0, 100)
    for number in ("1", "2"):
        during("tool.execute", 20, 60, span_id=number * 16)
        during("agent.run", 20, 60, "Plan", agent_id=number, parent_span_id=number * 16)
    # While both run, the main agent works itself for ten seconds.
    during("tool.execute", 30, 40)
    found = measured(home)
    assert found.parallel_ratio == pytest.approx(0.4)
    assert found.agent_utilization == pytest.approx((60 + 10 + 80) / (100 + 80))


def test_a_turn_in_the_main_agent_is_a_task_and_one_in_a_sub_agent_is_not(
    home: Path, during: During
) -> None:
    during("agent.turn", 0, 100)
    during("agent.turn", 20, 40, "Plan", agent_id="1")
    during("agent.turn", 40, 60, agent_id="2")
    during("agent.run", 20, 40, "Plan", agent_id="1", failed=True)
    assert measured(home).success_ratio == 0.5


def test_compaction_is_no_agent_beside_the_one_that_waits_for_it(
    home: Path, during: During
) -> None:
    during("agent.turn", 0, 100)
    during("agent.run", 40, 60, "compact", agent_id="acompact-1", failed=True)
    found = measured(home)
    assert (found.parallel_ratio, found.success_ratio) == (None, 1)


def test_being_started_is_a_sign_of_life_and_no_work(home: Path, during: During) -> None:
    during("agent.spawn", 90, 100, "a")
    during("agent.task", 150, 200, "a")
    during("message.deliver", 200, 300, "a")
    assert measured(home).agent_utilization == pytest.approx(50 / 200)


def test_what_reaches_over_the_edges_of_the_window_is_cut(home: Path, during: During) -> None:
    during("agent.task", -100, 50, "a")
    during("agent.task", 590, 700, "a")
    during("agent.task", 800, 900, "a")
    found = measured(home)
    assert found.agent_utilization == pytest.approx(60 / 600)
    # Only the first one has ended in it.
    assert found.tasks_per_hour == pytest.approx(6)


def test_a_span_sent_twice_is_one_task(home: Path, during: During) -> None:
    for family in (spool.UNDELIVERED, spool.OPERATIONS):
        during("agent.task", 0, 60, "a", trace_id="1" * 32, span_id="2" * 16, family=family)
    found = measured(home)
    assert found.tasks_per_hour == pytest.approx(6)
    assert found.agent_utilization == 1


def test_history_is_not_happening_now(home: Path, during: During) -> None:
    during("agent.task", 0, 60, "a", family=spool.HISTORY)
    assert measured(home) == Kpis()


def test_agents_are_active_for_a_minute_after_their_last_work(home: Path, during: During) -> None:
    during("agent.task", 100, 200, "a")
    during("agent.task", 100, 230, "b")
    assert measured(home, now_s=240).active_agents == 2
    assert measured(home, now_s=270).active_agents == 1
    assert measured(home, now_s=300).active_agents == 0


def test_throughput_is_that_of_the_last_hour_however_long_the_window(
    home: Path, during: During
) -> None:
    during("agent.task", -4000, -3900, "a")
    during("agent.task", 0, 10, "a")
    assert measured(home, window_s=86_400).tasks_per_hour == 1
    assert measured(home, window_s=None).tasks_per_hour == 1
    assert measured(home, window_s=86_400).success_ratio == 1


def test_what_goes_on_counts_until_now(home: Path, during: During) -> None:
    during("tool.execute", 100, 110)
    now_ns = START_NS + 200 * S
    goes_on = Interval("s1", "", "turn", START_NS - 100 * S, START_NS)
    with Store(home) as store:
        found = kpis.measure(store, now_ns=now_ns, since_ns=START_NS, unfinished=[goes_on])
    assert found.active_agents == 1
    assert found.agent_utilization == 1
