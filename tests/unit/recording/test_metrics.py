from __future__ import annotations

import enum
import fcntl
import math
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from orchwatch import count, gauge

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("home")


class Five(enum.IntEnum):
    FIVE = 5


class Name(enum.StrEnum):
    TASKS = "tasks"


class Raises:
    def __float__(self) -> float:
        raise RuntimeError


@pytest.fixture
def metrics(
    lines: Callable[[str], tuple[list[dict[str, Any]], int]],
) -> Callable[[], list[dict[str, Any]]]:
    def read() -> list[dict[str, Any]]:
        parsed, unreadable = lines("metrics")
        assert not unreadable
        return [
            metric
            for line in parsed
            for resource in line["resourceMetrics"]
            for scope in resource["scopeMetrics"]
            for metric in scope["metrics"]
        ]

    return read


def test_a_count_is_a_delta_of_a_monotonic_sum(
    metrics: Callable[[], list[dict[str, Any]]],
) -> None:
    count("orchestration.task.completed", 3, {"kind": "parse"}, unit="{task}")
    (metric,) = metrics()
    (point,) = metric["sum"].pop("dataPoints")
    assert metric == {
        "name": "orchestration.task.completed",
        "unit": "{task}",
        "sum": {"aggregationTemporality": 1, "isMonotonic": True},
    }
    assert point["asInt"] == "3"
    assert point["attributes"] == [{"key": "kind", "value": {"stringValue": "parse"}}]
    assert int(point["startTimeUnixNano"]) < int(point["timeUnixNano"])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, {"asInt": "0"}),
        (2**63 - 1, {"asInt": "9223372036854775807"}),
        (True, {"asInt": "1"}),
        (Five.FIVE, {"asInt": "5"}),
        (0.25, {"asDouble": 0.25}),
        (Decimal("1.5"), {"asDouble": 1.5}),
        (Fraction(1, 4), {"asDouble": 0.25}),
    ],
)
@pytest.mark.parametrize("record", [count, gauge])
def test_any_real_number_is_recorded(
    metrics: Callable[[], list[dict[str, Any]]], record: Any, value: Any, expected: dict[str, Any]
) -> None:
    record("m", value)
    (metric,) = metrics()
    (point,) = (metric.get("sum") or metric["gauge"])["dataPoints"]
    assert {key: point[key] for key in point if key.startswith("as")} == expected


def test_a_gauge_may_be_negative_and_a_counter_may_not(
    metrics: Callable[[], list[dict[str, Any]]], lost: Callable[[], dict[str, int]]
) -> None:
    gauge("g", -1.5, unit="Cel")
    count("c", -1)
    (metric,) = metrics()
    assert (metric["name"], metric["unit"]) == ("g", "Cel")
    assert lost() == {"bad_metric": 1}


@pytest.mark.parametrize("record", [count, gauge])
@pytest.mark.parametrize(
    ("name", "value", "unit"),
    [
        ("m", None, ""),
        ("m", "1", ""),
        ("m", b"1", ""),
        ("m", [1], ""),
        ("m", 1j, ""),
        ("m", math.nan, ""),
        ("m", math.inf, ""),
        ("m", 2**63, ""),
        ("m", 10**400, ""),
        ("", 1, ""),
        (None, 1, ""),
        (b"m", 1, ""),
        ("m", 1, None),
        ("m", 1, 5),
    ],
)
def test_what_is_no_metric_is_counted_and_never_raised(
    *,
    metrics: Callable[[], list[dict[str, Any]]],
    lost: Callable[[], dict[str, int]],
    record: Any,
    name: Any,
    value: Any,
    unit: Any,
) -> None:
    record(name, value, unit=unit)
    assert lost() == {"bad_metric": 1}
    assert metrics() == []


def test_a_value_whose_own_methods_raise_raises_nothing(lost: Callable[[], dict[str, int]]) -> None:
    gauge("m", Raises())  # type: ignore[arg-type]
    assert sum(lost().values()) == 1


def test_a_bad_attribute_does_not_cost_the_metric(
    metrics: Callable[[], list[dict[str, Any]]], lost: Callable[[], dict[str, int]]
) -> None:
    count("m", 1, {"bad": object(), "good": "x"})  # type: ignore[dict-item]
    (metric,) = metrics()
    assert [a["key"] for a in metric["sum"]["dataPoints"][0]["attributes"]] == ["good"]
    assert lost() == {"bad_attribute": 1}


def test_an_enumerations_name_is_a_name(metrics: Callable[[], list[dict[str, Any]]]) -> None:
    count(Name.TASKS)
    assert metrics()[0]["name"] == "tasks"


def test_counts_of_many_processes_stand_in_the_order_of_their_times(
    start_python: Callable[..., subprocess.Popen[str]],
    release: Callable[[list[subprocess.Popen[str]]], None],
    metrics: Callable[[], list[dict[str, Any]]],
    lost: Callable[[], dict[str, int]],
) -> None:
    code = """
        from orchwatch import count
        sys.stdin.readline()
        for _ in range(200):
            count("done")
    """
    processes = [start_python(code) for _ in range(8)]
    release(processes)
    times = [int(metric["sum"]["dataPoints"][0]["timeUnixNano"]) for metric in metrics()]
    assert len(times) == 8 * 200
    assert times == sorted(times)
    assert lost() == {}


def test_a_stopped_process_that_holds_the_lock_stops_no_counter(
    home: Path,
    metrics: Callable[[], list[dict[str, Any]]],
    lost: Callable[[], dict[str, int]],
) -> None:
    count("done")
    with (home / "spool" / ".metrics.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for _ in range(50):
            count("done")
    assert len(metrics()) == 51
    assert lost() == {}
