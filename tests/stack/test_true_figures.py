"""What figures on pages say, by the panels' own queries, where they once said something else."""

from __future__ import annotations

import json
import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.stack import boards, workload
from tests.stack.boards import Span
from tests.stack.conftest import TABLE, counted, eventually
from tests.stack.test_rule_corners import QUICK, answers, ended

from orchwatch import semconv
from orchwatch.mixin.dashboards import grading
from orchwatch.mixin.lib import level_series
from orchwatch.mixin.rules import samples

if TYPE_CHECKING:
    from pathlib import Path

    from native import Stack

HOUR_S = 3600
MEMORY = level_series.gauge(TABLE.levels["memory.utilization"]).sample
CPU = level_series.gauge(TABLE.levels["cpu.utilization"]).sample
# As long as it reports about itself, no alert says that nothing arrives.
COLLECTOR = {"otelcol_process_uptime_seconds_total": samples.growing(0, 60, 60)}


def query(page: str, title: str, ref: str = "A") -> str:
    """The query of a panel, in brackets."""
    (found,) = (one for one in boards.panel(page, title)["targets"] if one["refId"] == ref)
    return f"({found['expr']})"


@pytest.mark.xdist_group("shared stack")
class TestOnServers:
    """With operations that were really counted."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _shops(cls, stack: Stack) -> None:
        number = 25
        for service, took_s in (("true-shop", 0.04), ("true-slow", 0.522), ("true-fast", 52e-6)):
            one = [workload.ended(semconv.HOOK_PROCESS, took_s) for _ in range(number)]
            failed = [workload.ended(semconv.HOOK_PROCESS, took_s, error="E") for _ in range(3)]
            workload.write(stack, service, [*one, *failed])
        for service in ("true-shop", "true-slow", "true-fast"):
            assert eventually(partial(cls._arrived, stack, service, number + 3))

    @staticmethod
    def _arrived(stack: Stack, service: str, number: int) -> bool:
        return counted(stack, service=service) == number

    def numbers(self, stack: Stack, title: str, service: str) -> dict[str, float]:
        chosen = {"service": service, "operation": semconv.HOOK_PROCESS}
        return boards.numbers(stack, "operations", title, Span.last(HOUR_S), **chosen)

    def test_the_headline_is_of_the_service_that_is_chosen(self, stack: Stack) -> None:
        def statuses() -> list[float]:
            found = [self.numbers(stack, "Status", one) for one in ("true-shop", "true-slow")]
            return [value for one in found for value in one.values()]

        assert eventually(lambda: statuses() == [0, 2])
        assert 0.03 <= self.numbers(stack, "p95", "true-shop")["p95"] <= 0.05
        assert 0.5 <= self.numbers(stack, "p95", "true-slow")["p95"] <= 0.6

    def test_the_p95_of_fast_operations_is_not_that_of_the_lowest_edge(self, stack: Stack) -> None:
        fast = eventually(lambda: self.numbers(stack, "p95", "true-fast"))
        assert 52e-6 <= fast["p95"] <= 2 * 52e-6

    def test_failures_are_counted_to_the_operation_in_every_load(self, stack: Stack) -> None:
        for _ in range(10):
            frames = boards.shown(
                stack,
                "operations",
                "Failures by type",
                Span.last(HOUR_S),
                service="true-shop",
                operation=semconv.HOOK_PROCESS,
            )
            assert [sum(frame.columns["E"]) for frame in frames] == [3]

    def test_cells_of_the_heatmap_are_counts_between_the_edges_of_the_data(
        self, stack: Stack
    ) -> None:
        one = boards.panel("operations", "How long they took")
        assert one["options"]["cellValues"]["unit"] == "locale"
        assert one["options"]["yAxis"]["unit"] == "s"
        chosen = {"service": "true-shop", "operation": semconv.HOOK_PROCESS}

        def cells() -> dict[str, float]:
            span = Span.last(HOUR_S)
            values = boards.variables(stack, "operations", span, chosen)
            frames = boards.asked(stack, one, one["targets"][0], span, values)
            columns = [frame["fields"][1] for frame in frames]
            return {one["labels"]["le"]: sum(one["values"]) for one in columns}

        # Cumulative, as Prometheus has them: all of them lie between these two.
        assert eventually(lambda: cells() == {"0.03": 0, "0.05": 28})

    def test_tokens_of_an_imported_session_are_shown(self, stack: Stack) -> None:
        ago_s = 3 * 86_400
        turns = [
            workload.ended(
                semconv.AGENT_TURN,
                20,
                ago_s=ago_s + number,
                session="true-tokens",
                model="m-true",
                output_tokens=1000,
            )
            for number in range(200)
        ]
        workload.write(stack, "true-tokens", turns, family="history")
        now_s = time.time()
        span = Span(now_s - ago_s - HOUR_S, now_s - ago_s + HOUR_S)

        def output() -> list[Any]:
            rows = boards.rows(stack, "kpis", "Tokens of all sessions", span)
            return [row["Output"] for row in rows if row["Model"] == "m-true"]

        assert eventually(lambda: output() == [200_000], 180)


def test_operations_are_counted_to_the_operation(tmp_path: Path) -> None:
    series = ended(semconv.STATE_QUERY, (0, 3), (1, 25), (0, 30))
    number = query("overview", "Every operation", "ended")
    # promtool evaluates every group as often; these rules are, every two minutes.
    assert answers(tmp_path, series, 50, f"{number} == 25", rules=(QUICK[0], "2m"))


def test_a_level_whose_source_died_is_grey_and_says_for_how_long(tmp_path: Path) -> None:
    series = {MEMORY: f"{samples.constant(0.5, 20)} _x60"}
    value, age = query("resources", "Memory usage"), query("resources", "Memory usage", "age")
    status = query("overview", "Every share", "status")
    assert answers(tmp_path, series, 15, f"{value} == 0.5")
    assert not answers(tmp_path, series, 15, age)
    assert not answers(tmp_path, series, 60, value)
    assert answers(tmp_path, series, 60, f"({age} > 35 * 60) < 40 * 60")
    assert answers(tmp_path, series, 15, f"{status} == 0")
    assert not answers(tmp_path, series, 60, f"{status} >= 0")
    shown = boards.panel("resources", "Memory usage")["fieldConfig"]["overrides"]
    (grey,) = (one for one in shown if one["matcher"]["options"] == "age")
    (steps,) = (one["value"]["steps"] for one in grey["properties"] if one["id"] == "thresholds")
    assert [one["color"] for one in steps] == [grading.UNKNOWN]


def test_no_number_of_alerts_is_said_where_no_rule_is_evaluated(tmp_path: Path) -> None:
    number = query("overview", "Alerts")
    nothing = {"up": samples.constant(1, 20)}
    assert not answers(tmp_path, nothing, 10, number, rules=((), "1m"))
    assert answers(tmp_path, ended(semconv.STATE_QUERY, (1, 20)), 10, f"{number} >= 0")


def test_the_number_of_alerts_is_that_of_the_rows_which_name_the_operation_that_fails(
    tmp_path: Path,
) -> None:
    failing = (semconv.STATE_PERSIST, semconv.MESSAGE_DELIVER)
    series: dict[str, str] = {}
    for operation in failing:
        series |= ended(operation, (5, 20)) | ended(operation, (5, 20), failed=True)
    rows = query("overview", "Firing alerts")
    for operation in failing:
        of_it = f'label_replace(vector(1), "about", "{operation}", "", "")'
        assert answers(tmp_path, series, 15, f"{rows} and on (about) {of_it}")
    serious = f'count({rows} unless on (severity) ALERTS{{severity="info"}})'
    assert answers(tmp_path, series, 15, f"{query('overview', 'Alerts')} == {serious}")


def test_health_is_never_well_while_a_target_is_missed_or_an_alert_fires(tmp_path: Path) -> None:
    state = query("overview", "Health")
    well = ended(semconv.STATE_QUERY, (5, 30)) | COLLECTOR
    assert answers(tmp_path, well, 20, f"{state} == 0")
    # Not a part of the score.
    missed = ended(semconv.STATE_PERSIST, (5, 30), took_s=1)
    assert answers(tmp_path, well | missed, 12, f"{state} == 1")
    critical = ended(semconv.STATE_QUERY, (5, 30), failed=True)
    assert answers(tmp_path, well | critical, 20, f"{state} == 2")
    assert answers(tmp_path, well | critical, 20, f"{query('overview', 'Health', 'score')} == 1")


def test_only_what_can_be_forecast_is_and_from_enough_of_a_past(tmp_path: Path) -> None:
    grows = {MEMORY: samples.growing(0.2, 0.004, 150)}
    ahead = query("resources", "If it goes on", "memory")
    assert not answers(tmp_path, grows, 20, ahead)
    # 0.2 + 0.004 a minute: at 100 minutes and an hour later.
    assert answers(tmp_path, grows, 100, f"abs({ahead} - (0.2 + 0.004 * 160)) < 0.01")
    before = query("resources", "Memory, and", "forecast")
    assert answers(tmp_path, grows, 140, f"abs({before} - (0.2 + 0.004 * 140)) < 0.01")
    assert not answers(tmp_path, grows, 85, before)
    asked = [t["expr"] for one in boards.panels("resources") for t in one["targets"]]
    assert not [one for one in asked if "predict_linear" in one and "cpu" in one]


def test_a_new_version_of_a_service_is_noted_once_and_the_first_of_all_is_not(
    tmp_path: Path,
) -> None:
    (noted,) = (
        one for one in boards.page("operations")["annotations"]["list"] if "version" in one["name"]
    )
    series = {
        'target_info{job="shop",instance="a",service_version="1.0"}': samples.constant(1, 20),
        'target_info{job="shop",instance="b",service_version="1.1"}': "_x20 1x20",
        'target_info{job="bare",instance="c"}': samples.constant(1, 40),
    }
    expr = f"({noted['expr']})"
    assert not answers(tmp_path, series, 0, expr, rules=((), "1m"))
    assert not answers(tmp_path, series, 18, expr, rules=((), "1m"))
    assert answers(tmp_path, series, 20, f"count({expr}) == 1 and on () {expr}", rules=((), "1m"))
    assert not answers(tmp_path, series, 25, expr, rules=((), "1m"))


def test_the_page_of_an_operation_of_which_none_ran_shows_one_that_did_and_says_so(
    tmp_path: Path,
) -> None:
    (variable,) = (
        one for one in boards.page("operations")["templating"]["list"] if one["name"] == "shown"
    )
    (asked,) = re.findall(r"^query_result\((.*)\)$", variable["query"]["query"], re.DOTALL)

    def series(operation: str) -> str:
        counter = "orchestration_operation_duration_seconds_count"
        return f'{counter}{{orchestration_operation_name="{operation}",service_name="a"}}'

    values = {"operation": "state.query", "service": ".*", "__range": "10m"}
    often, seldom = {series("often"): "0+9x60"}, {series("seldom"): "0+1x60"}
    never: dict[str, str] = {}
    before = {series("state.query"): "5x60"}
    ran = ("0+1x60", "5x33 6x27", "_x33 1x27")  # goes on, once, for the first time
    itself = "state.query#state.query over time"
    instead = "often#None of state.query ran in this time range: this is often, which did"
    nothing = "state.query#No operation ran in this time range"
    cases = [
        *(({series("state.query"): one, **often}, itself) for one in ran),
        *(({**one, **often, **seldom}, instead) for one in (never, before)),
        ({series("other"): "5x60"}, nothing),
    ]
    for given, computed in cases:
        expected = f'label_replace(vector(1), "computed", "{computed}", "", "")'
        expr = f"({boards.filled(asked, values)}) and on (computed) {expected}"
        assert answers(tmp_path, given, 40, expr, rules=((), "1m")), computed
        value, text = computed.split("#")
        match = re.search(
            variable["regex"].strip("/").replace("(?<", "(?P<"), f'computed="{computed}"'
        )
        assert match
        assert (match["value"], match["text"]) == (value, text)


def test_everything_on_the_page_of_an_operation_is_about_the_one_that_it_shows() -> None:
    page = boards.page("operations")
    computed = {one["name"]: one["query"]["query"] for one in page["templating"]["list"][-2:]}
    asked = [json.dumps(one["targets"]) for one in boards.panels("operations")]
    for text in (*asked, *computed.values()):
        assert "$shown" in text
        assert "$operation" not in text
