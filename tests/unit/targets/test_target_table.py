from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from orchwatch import semconv
from orchwatch.targets import config, target_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchwatch.targets.target_table import LevelTarget, OperationTarget

    Load = Callable[[str], target_table.Targets]

pytestmark = pytest.mark.usefixtures("home")

MS = 1e-3
MB = 1024 * 1024
SHIPPED = target_table.load(config.Config())


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load_text(text: str) -> target_table.Targets:
        file = tmp_path / "orchwatch.toml"
        file.write_text(text)
        return target_table.load(config.load(file))

    return load_text


# The requirements' own numbers: "Performance Targets & Justifications" and check_alerts().
OPERATIONS = {
    semconv.SESSION_INIT: (100 * MS, 150 * MS),
    semconv.STATE_QUERY: (50 * MS, 75 * MS),
    semconv.HOOK_PROCESS: (200 * MS, None),
    semconv.DASHBOARD_REFRESH: (500 * MS, None),
    semconv.AGENT_SPAWN: (1.0, None),
    semconv.EVENT_PROCESS: (25 * MS, None),
    semconv.STATE_PERSIST: (300 * MS, None),
    semconv.MESSAGE_DELIVER: (100 * MS, None),
    semconv.DEPENDENCY_RESOLVE: (150 * MS, None),
    semconv.RECOVERY_RUN: (5.0, None),
}
# group, target, better when, alert beyond
LEVELS = {
    "availability": ("reliability", 0.999, "above", None),
    "consistency": ("reliability", 1, "above", None),
    "session.memory": ("reliability", 500 * MB, "below", None),
    "storage.growth": ("reliability", 10 * MB, "below", None),
    "error.rate": ("reliability", 0.001, "below", None),
    "cpu.utilization": ("levels", 0.80, "below", 0.85),
    "memory.utilization": ("levels", 0.75, "below", 0.80),
    "agent.utilization": ("levels", 0.70, "above", None),
    "parallel.execution": ("levels", 0.60, "above", None),
    "task.success": ("levels", 0.95, "above", 0.90),
    "task.errors": ("levels", 0.01, "below", 0.02),
    "test.coverage": ("levels", 0.80, "above", None),
    "code.quality": ("levels", 8, "above", None),
    "task.throughput": ("levels", 20, "above", None),
}
# check_alerts(): whose alert is how urgent.
SEVERITIES = {
    semconv.SESSION_INIT: "warning",
    semconv.STATE_QUERY: "warning",
    "task.success": "warning",
    "cpu.utilization": "critical",
    "memory.utilization": "critical",
    "task.errors": "critical",
}


def test_the_table_holds_the_requirements_rows_and_no_others() -> None:
    assert set(SHIPPED.operations) == set(OPERATIONS)
    assert set(SHIPPED.levels) == set(LEVELS)


@pytest.mark.parametrize("row_id", OPERATIONS)
def test_an_operation_has_the_requirements_numbers(row_id: str) -> None:
    row = SHIPPED.operations[row_id]
    target_s, alert_s = OPERATIONS[row_id]
    assert row.target_s == pytest.approx(target_s)
    assert row.warning_s == pytest.approx(1.2 * target_s)
    assert row.alert_s == (None if alert_s is None else pytest.approx(alert_s))


@pytest.mark.parametrize("row_id", LEVELS)
def test_a_level_has_the_requirements_numbers(row_id: str) -> None:
    row = SHIPPED.levels[row_id]
    assert (row.group, row.target, row.direction, row.alert) == LEVELS[row_id]


@pytest.mark.parametrize("row_id", SEVERITIES)
def test_an_alert_is_as_urgent_as_the_requirements_say(row_id: str) -> None:
    rows: dict[str, OperationTarget | LevelTarget] = {**SHIPPED.operations, **SHIPPED.levels}
    assert rows[row_id].severity == SEVERITIES[row_id]


@pytest.mark.parametrize("row", [*SHIPPED.operations.values(), *SHIPPED.levels.values()])
def test_a_row_says_what_to_do_and_where_it_comes_from(row: OperationTarget | LevelTarget) -> None:
    assert row.title
    assert row.recommendation
    assert row.source.startswith("requirements, ")


@pytest.mark.parametrize("row", SHIPPED.operations.values(), ids=lambda row: row.id)
def test_every_threshold_of_an_operation_is_an_edge(row: OperationTarget) -> None:
    thresholds = {row.target_s, row.warning_s, row.alert_s} - {None}
    assert thresholds <= set(SHIPPED.edges_s)


def test_edges_ascend_without_repetition_up_to_an_hour() -> None:
    assert list(SHIPPED.edges_s) == sorted(set(SHIPPED.edges_s))
    assert SHIPPED.edges_s[-1] == 3600


def test_edges_are_numbers_that_a_person_would_type() -> None:
    assert all(len(f"{edge!r}".replace(".", "")) <= 6 for edge in SHIPPED.edges_s)


@pytest.mark.parametrize("row", SHIPPED.operations.values(), ids=lambda row: row.id)
def test_a_p95_is_ok_up_to_its_target_warn_up_to_its_warning_and_missed_beyond(
    row: OperationTarget,
) -> None:
    after = math.inf
    assert row.status(0.0) == "ok"
    assert row.status(row.target_s) == "ok"
    assert row.status(math.nextafter(row.target_s, after)) == "warn"
    assert row.status(row.warning_s) == "warn"
    assert row.status(math.nextafter(row.warning_s, after)) == "miss"
    assert row.status(after) == "miss"


@pytest.mark.parametrize("row", SHIPPED.levels.values(), ids=lambda row: row.id)
def test_a_level_is_ok_at_its_target_and_missed_beyond_its_warning(row: LevelTarget) -> None:
    worse = math.inf if row.direction == "below" else -math.inf
    assert row.status(row.target) == "ok"
    assert row.status(row.warning) == ("ok" if row.warning == row.target else "warn")
    assert row.status(math.nextafter(row.warning, worse)) == "miss"
    assert row.status(-worse) == "ok"
    if row.warning != row.target:
        assert row.status(math.nextafter(row.target, worse)) == "warn"


@pytest.mark.parametrize("row", [SHIPPED.operations["state.query"], SHIPPED.levels["code.quality"]])
def test_what_was_not_measured_is_unknown(row: OperationTarget | LevelTarget) -> None:
    assert row.status(None) == "unknown"
    assert row.status(math.nan) == "unknown"


def test_a_user_changes_a_row_and_keeps_the_rest_of_it(load: Load) -> None:
    row = load('[operations."state.query"]\ntarget_s = 0.04').operations["state.query"]
    shipped = SHIPPED.operations["state.query"]
    assert (row.target_s, row.warning_s, row.alert_s) == (0.04, 0.048, 0.075)
    assert (row.title, row.source) == (shipped.title, shipped.source)


def test_a_users_own_operation_has_its_edges_and_says_where_it_comes_from(load: Load) -> None:
    table = load('[operations."build.run"]\ntarget_s = 42\nalert_s = 70.5')
    row = table.operations["build.run"]
    assert (row.warning_s, row.objective, row.severity) == (50.4, 0.95, "warning")
    assert row.source == "orchwatch.toml"
    assert {42, 50.4, 70.5} <= set(table.edges_s)
    assert list(table.operations) == [*SHIPPED.operations, "build.run"]


def test_the_last_edge_is_no_threshold_as_what_lies_beyond_it_comes_out_as_that_edge(
    load: Load,
) -> None:
    table = load('[operations."build.run"]\ntarget_s = 3600\nalert_s = 5000')
    assert table.edges_s[-2:] == (5000, 10000)


def test_a_threshold_is_as_exact_as_an_edge_of_the_collector(load: Load) -> None:
    row = load('[operations."x"]\ntarget_s = 0.03333333333').operations["x"]
    assert (row.target_s, row.warning_s) == (0.033333333, 0.04)


def test_a_share_of_failures_may_be_asked_to_be_none_at_all(load: Load) -> None:
    row = load('[reliability."error.rate"]\ntarget = 0\nwarning = 0').levels["error.rate"]
    assert (row.status(0.0), row.status(1e-6)) == ("ok", "miss")


def test_a_users_own_level_may_be_better_above(load: Load) -> None:
    row = load('[levels."cache.hits"]\ntarget = 0.9\ndirection = "above"\nunit = "1"').levels[
        "cache.hits"
    ]
    assert (row.warning, row.status(0.9), row.status(0.72), row.status(0.71)) == (
        0.72,
        "ok",
        "warn",
        "miss",
    )


def test_a_relaxed_target_takes_the_thresholds_along_that_it_overtakes(load: Load) -> None:
    table = load(
        '[operations."session.init"]\ntarget_s = 0.3\n[levels."cpu.utilization"]\ntarget = 0.9'
    )
    session, cpu = table.operations["session.init"], table.levels["cpu.utilization"]
    assert (session.target_s, session.warning_s, session.alert_s) == (0.3, 0.36, None)
    assert (cpu.target, cpu.warning, cpu.alert) == (0.9, 0.95, None)


def test_a_promise_that_is_kept_or_missed_stays_one(load: Load) -> None:
    row = load('[reliability."availability"]\ntarget = 0.99').levels["availability"]
    assert (row.warning, row.status(0.99), row.status(0.9899)) == (0.99, "ok", "miss")


@pytest.mark.parametrize(
    ("row", "key", "rule"),
    [
        ('operations."state.query"\ntarget = 1', "target", "unknown key; known are alert_s"),
        ('operations."state.query"\ntraget_s = 1', "traget_s", "unknown key"),
        ('operations."state.query"\nid = "x"', "id", "unknown key"),
        ('operations."x"\nwarning_s = 1', "target_s", "is missing"),
        ('operations."x"\ntarget_s = 0', "target_s", "must be above 0"),
        ('operations."x"\ntarget_s = -0.1', "target_s", "must be above 0, not -0.1"),
        ('operations."x"\ntarget_s = nan', "target_s", "must be a finite number, not nan"),
        ('operations."x"\ntarget_s = inf', "target_s", "must be a finite number, not inf"),
        (f'operations."x"\ntarget_s = 1{"0" * 400}', "target_s", "must be a finite number"),
        ('operations."x"\ntarget_s = true', "target_s", "must be a number, not True"),
        ('operations."x"\ntarget_s = "50ms"', "target_s", "must be a number, not '50ms'"),
        ('operations."x"\ntarget_s = [1]', "target_s", "must be a number, not [1]"),
        ('operations."x"\ntarget_s = 1979-05-27', "target_s", "must be a number"),
        ('operations."x"\ntarget_s = 1\nalert_s = 1e10', "alert_s", "must be at most 86400, a day"),
        ('operations."x"\ntarget_s = 1\nwarning_s = 86401', "warning_s", "must be at most 86400"),
        ('operations."x"\ntarget_s = 1\ntitle = " "', "title", "must be one line of printable"),
        ('operations." "\ntarget_s = 1', "", "the id must be one line of printable text"),
        ('operations."x"\ntarget_s = 3601', "target_s", "must be at most 3600"),
        ('operations."x"\ntarget_s = 1\nwarning_s = 0.9', "warning_s", "must not be below"),
        ('operations."x"\ntarget_s = 1\nalert_s = 0.9', "alert_s", "must not be below"),
        ('operations."x"\ntarget_s = 1\nwarning_s = nan', "warning_s", "must be a finite number"),
        ('operations."x"\ntarget_s = 1\nobjective = 1', "objective", "between 0 and 1"),
        ('operations."x"\ntarget_s = 1\nobjective = 95', "objective", "between 0 and 1"),
        ('operations."x"\ntarget_s = 1\nseverity = "bad"', "severity", "must be one of info"),
        ('operations."x"\ntarget_s = 1\ntitle = ""', "title", "must be a string"),
        ('operations."x"\ntarget_s = 1\ntitle = "a\\nb"\nx = 1', "x", "unknown key"),
        (
            'operations."x"\ntarget_s = 1\nseverity = "a\\nb"',
            "severity",
            "must be one line of printable",
        ),
        ('operations."x\\ny"\ntarget_s = 1', "", "the id must be one line of printable text"),
        ('operations."x {{ y"\ntarget_s = 1', "", "the id must be one line of printable text"),
        ('operations."x"\ntarget_s = 1\ntitle = "{{ x"', "title", "must be one line of printable"),
        ('operations."x"\ntarget_s = 1e-10', "target_s", "must be a nanosecond or more"),
        ('operations."x"\ntarget_s = 1\nobjective = 0.9999999999999', "objective", "between 0 and"),
        ('levels."x"\ntarget = 1', "direction", "is missing"),
        ('levels."x"\ntarget = 1\ndirection = "up"', "direction", "must be one of below, above"),
        ('levels."x"\ntarget = 1\ndirection = "below"', "unit", "is missing"),
        ('levels."x"\ndirection = "below"\nunit = "By"', "target", "is missing"),
        (
            'levels."x"\ntarget = 80\ndirection = "below"\nunit = "1"',
            "target",
            "is a share and must be at most 1",
        ),
        ('levels."cpu.utilization"\nwarning = 0.7', "warning", "must not be below target"),
        ('levels."task.success"\nwarning = 0.99', "warning", "must not be above target"),
        ('levels."task.success"\nalert = 0.99', "alert", "must not be above target"),
        ('levels."availability"\ntarget = 0.9', "", "stands in [reliability] already"),
        ('reliability."availability"\ntarget = -1', "target", "must be 0 or more"),
        (
            'reliability."availability"\ntarget = 0',
            "target",
            "0 is never missed: no share lies below",
        ),
        (
            'reliability."error.rate"\ntarget = 1',
            "target",
            "1 is never missed: no share lies above",
        ),
        ('levels."cpu.utilization"\nalert = 1', "alert", "1 is never missed: no share lies above"),
        ('levels."cpu.utilization"\nwarning = 1.5', "warning", "is a share and must be at most 1"),
        ('levels."task.success"\nalert = 0', "alert", "0 is never missed: no share lies below"),
        ('levels."task.success"\nwarning = 1e-13', "warning", "0 is never missed"),
        ('reliability."session.memory"\ntarget = 1e300', "target", "must be at most 1e+18"),
        ('levels."cpu.utilization"\ndirection = "above"', "direction", "must stay 'below'"),
        ('levels."code.quality"\nunit = "1"', "unit", "must stay '{point}'"),
        ('levels."größe"\ntarget = 1', "", "the id must be words of letters and digits"),
        ('levels."Code-Quality"\ntarget = 1', "", "'code.quality' stands in [levels] already"),
    ],
)
def test_a_broken_row_is_one_line_naming_file_key_and_rule(
    load: Load, tmp_path: Path, row: str, key: str, rule: str
) -> None:
    head, _, body = row.partition("\n")
    with pytest.raises(config.ConfigError) as caught:
        load(f"[{head}]\n{body}")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert rule in message
    where = head.replace("\\n", " ")
    assert message.startswith(f"{tmp_path}/orchwatch.toml: {where}{'.' if key else ''}{key}")
