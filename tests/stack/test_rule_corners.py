"""What the committed rules say of little traffic, young series, resets: on the real promtool."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml
from tests.stack.conftest import TABLE

import build
from orchwatch import semconv
from orchwatch.mixin.alerts import pipeline
from orchwatch.mixin.lib import level_series, promql
from orchwatch.mixin.rules import recording, samples

REPO = Path(__file__).resolve().parents[2]
RULES = REPO / "prometheus" / "rules"
# What is evaluated together, and how often here.
QUICK = ((RULES / "recording.yml", RULES / "alerts.yml"), "1m")
SLOW = ((RULES / "regression.yml",), "5m")
QUERY = semconv.STATE_QUERY
MEMORY = level_series.gauge(TABLE.levels["memory.utilization"]).sample
CPU = level_series.gauge(TABLE.levels["cpu.utilization"]).sample
TASK_ERRORS = level_series.gauge(TABLE.levels["task.errors"]).sample
ERRORS = f"{recording.ERROR_RATIO}15m"

Series = dict[str, str]


def ended(
    operation: str, *steps: tuple[float, int], took_s: float = 0.001, failed: bool = False
) -> Series:
    """Operations a minute, for so many minutes; one after the other."""
    status = semconv.STATUS_ERROR if failed else semconv.STATUS_OK
    runs = [({took_s: each}, minutes) for each, minutes in steps]
    return samples.histogram(TABLE, operation, runs, status)


def firing(tmp_path: Path, series: Series, minutes: int, *alerts: str) -> set[str]:
    """Which of some alerts promtool says to fire."""
    return {
        name
        for name in alerts
        if answers(tmp_path, series, minutes, f'ALERTS{{alertname="{name}",alertstate="firing"}}')
    }


def answers(
    tmp_path: Path,
    series: Series,
    minutes: int,
    expr: str,
    *,
    rules: tuple[tuple[Path, ...], str] = QUICK,
    every: str = "1m",
) -> bool:
    """Whether an expression answers anything after so many minutes of samples, one `every` step."""
    files, step = rules
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    test = {
        "interval": every,
        "input_series": [{"series": name, "values": text} for name, text in series.items()],
        "promql_expr_test": [
            {
                "expr": f"count({expr}) > bool 0 or vector(0)",
                "eval_time": f"{minutes}m",
                "exp_samples": [{"value": 1}],
            }
        ],
    }
    document = {
        "rule_files": [str(file) for file in files],
        "evaluation_interval": step,
        "group_eval_order": [group["name"] for group in groups],
        "tests": [test],
    }
    file = tmp_path / "corner.test.yml"
    file.write_text(yaml.safe_dump(document))
    command = [str(build.binaries()["promtool"]), "test", "rules", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert ran.returncode == 0 or "got: {} 0E+00" in ran.stderr, ran.stderr
    return ran.returncode == 0


BUDGETS = ("ErrorBudgetBurn", "AvailabilityBudgetBurn")


def test_one_failure_of_two_operations_does_not_alert(tmp_path: Path) -> None:
    series = ended(QUERY, (1, 1), (0, 9)) | ended(QUERY, (1, 1), (0, 9), failed=True)
    assert firing(tmp_path, series, 3, *BUDGETS) == set()
    series = ended(QUERY, (3, 1), (0, 9)) | ended(QUERY, (3, 1), (0, 9), failed=True)
    assert firing(tmp_path, series, 2, *BUDGETS) == set(BUDGETS)


def test_one_slow_operation_of_two_burns_no_budget_but_three_of_six_do(tmp_path: Path) -> None:
    for each, expected in ((1, set()), (3, {"LatencyBudgetBurn"})):
        runs = [({0.001: each, 5.0: each}, 1), ({0.001: 0}, 9)]
        series = samples.histogram(TABLE, QUERY, runs)
        assert firing(tmp_path, series, 2, "LatencyBudgetBurn") == expected


def test_what_has_no_target_may_fail_without_the_system_being_unavailable(tmp_path: Path) -> None:
    series = ended(QUERY, (10, 10)) | ended(semconv.TOOL_EXECUTE, (10, 10), failed=True)
    assert firing(tmp_path, series, 9, *BUDGETS, "ManyErrors") == {"ManyErrors"}
    assert answers(tmp_path, series, 9, f"{recording.AVAILABILITY}15m == 1")


def test_more_than_five_errors_are_not_five(tmp_path: Path) -> None:
    for failures, expected in ((5, set()), (6, {"ManyErrors"})):
        series = ended(semconv.TOOL_EXECUTE, (1, failures), (0, 10), failed=True)
        assert firing(tmp_path, series, failures + 2, "ManyErrors") == expected


def test_what_an_increase_adds_to_a_young_series_is_no_failure(tmp_path: Path) -> None:
    as_shipped = QUICK[0], "15s"
    for failures, expected in ((5, {"pending"}), (6, {"pending", "firing"})):
        counted = ended(semconv.TOOL_EXECUTE, (failures, 1), (0, 60), failed=True)
        series = {name: f"_x6 {text}" for name, text in counted.items()}
        states = {
            state
            for state in ("pending", "firing")
            if answers(
                tmp_path,
                series,
                2,
                f'max_over_time(ALERTS{{alertname="ManyErrors",alertstate="{state}"}}[2m])',
                rules=as_shipped,
                every="2s",
            )
        }
        assert states == expected


def test_counters_that_stand_still_give_no_share(tmp_path: Path) -> None:
    # Both have counted before, and nothing happens any more.
    series = ended(QUERY, (10, 10), (0, 40)) | ended(QUERY, (1, 10), (0, 40), failed=True)
    shares = (ERRORS, f"{recording.WITHIN_RATIO}15m", f"{recording.AVAILABILITY}15m")
    for share in shares:
        assert answers(tmp_path, series, 12, share)
        assert not answers(tmp_path, series, 40, share)


def test_a_restarted_counter_counts_on(tmp_path: Path) -> None:
    series = {
        name: f"{text} {text.removeprefix('0')[1:]}" if "x" not in text else f"{text} {text}"
        for name, text in ended(QUERY, (10, 15)).items()
    }
    counted = f"{recording.ENDED}15m{promql.selector(operation=QUERY)}"
    assert answers(tmp_path, series, 25, f"{counted} > 130 < 155")
    assert answers(tmp_path, series, 25, f"{recording.WITHIN_RATIO}15m == 1")


def test_state_that_contradicts_itself_alerts_though_nothing_was_asked_of_it(
    tmp_path: Path,
) -> None:
    violated = {level_series.VIOLATIONS: "0 1x9"}
    assert firing(tmp_path, violated, 5, "ConsistencyLow") == {"ConsistencyLow"}


@pytest.mark.parametrize(
    ("values", "minutes", "fires"),
    [
        pytest.param("0.3+0.005x90", 65, True, id="an hour of steady growth"),
        pytest.param("_x60 0.3+0.02x20", 75, False, id="a quarter of an hour of steep growth"),
        pytest.param("0.1+0.02x30 0.7+0x40", 68, False, id="growth that has ended"),
        pytest.param("0.3+0.008x52 0.2+0x10", 61, False, id="growth before a restart"),
        pytest.param("0.3+0.005x3 _x57 0.5+0.005x10", 66, False, id="a gap with growth around it"),
    ],
)
def test_memory_is_predicted_from_a_trend_that_goes_on(
    tmp_path: Path, values: str, minutes: int, *, fires: bool
) -> None:
    found = firing(tmp_path, {MEMORY: values}, minutes, "MemoryUtilizationSoonHigh")
    assert bool(found) == fires


@pytest.mark.parametrize(
    ("minutes", "after", "fires"),
    [
        pytest.param(120, {0.5: 100.0}, True, id="ten times a constant past"),
        # The p95 moves on within the next bucket.
        pytest.param(120, {0.05: 92.0, 0.1: 8.0}, False, id="a little more than a constant past"),
        pytest.param(40, {0.5: 100.0}, False, id="ten times a short past"),
    ],
)
def test_an_anomaly_is_far_from_a_past_that_is_long_enough(
    tmp_path: Path, minutes: int, after: dict[float, float], *, fires: bool
) -> None:
    runs = [({0.05: 100.0}, minutes), (after, 10)]
    series = samples.histogram(TABLE, semconv.AGENT_SPAWN, runs)
    assert bool(firing(tmp_path, series, minutes + 9, "LatencyAnomaly")) == fires


@pytest.mark.parametrize(
    ("before_a_day", "this_day", "fires"),
    [
        pytest.param(20, 150, True, id="enough on both sides"),
        pytest.param(10, 150, False, id="too few in the week"),
        pytest.param(20, 50, False, id="too few in the day"),
    ],
)
def test_a_day_is_compared_where_enough_ended_on_both_sides(
    tmp_path: Path, before_a_day: int, this_day: int, *, fires: bool
) -> None:
    day = 24 * 60
    runs = [({0.001: before_a_day / day}, 7 * day), ({0.05: this_day / day}, day)]
    series = samples.histogram(TABLE, QUERY, runs)
    regression = 'ALERTS{alertname="LatencyRegression",alertstate="firing"}'
    assert answers(tmp_path, series, 8 * day, regression, rules=SLOW) == fires


def test_one_failed_task_of_two_does_not_alert(tmp_path: Path) -> None:
    for failures, expected in ((1, set()), (3, {"TaskErrorsHigh"})):
        failed = ended(semconv.AGENT_TASK, (failures, 1), (0, 20), failed=True)
        series = {TASK_ERRORS: "0.5x20", **failed}
        assert firing(tmp_path, series, 10, "TaskErrorsHigh") == expected


def test_a_level_that_dips_for_a_moment_is_one_alert_and_ends_when_it_stays_well(
    tmp_path: Path,
) -> None:
    series = {CPU: "0.95x9 0.5 0.95x5 0.5x20"}
    for minutes, expected in ((9, True), (10, True), (12, True), (25, False)):
        assert bool(firing(tmp_path, series, minutes, "CpuUtilizationHigh")) == expected


def test_a_disk_that_has_become_full_goes_on_alerting(tmp_path: Path) -> None:
    series = {level_series.FREE: "100e9-1e9x100 0x440"}
    assert firing(tmp_path, series, 9 * 60, "DiskSoonFull") == {"DiskSoonFull"}


@pytest.mark.parametrize(("minutes", "fires"), [(1, False), (4, False), (7, True)])
def test_a_queue_is_given_time_for_its_first_export(
    tmp_path: Path, minutes: int, *, fires: bool
) -> None:
    series = {f'{pipeline.QUEUE_SIZE}{{exporter="otlp_http/tempo"}}': "3x20"}
    assert bool(firing(tmp_path, series, minutes, "ExportsStalled")) == fires
