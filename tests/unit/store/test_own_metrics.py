from __future__ import annotations

import time
from typing import TYPE_CHECKING

from orchwatch import count, gauge
from orchwatch.recording import otlp_json, spool
from orchwatch.store import own_metrics
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from pathlib import Path

    from orchwatch.store.own_metrics import Metric

LEVELS = target_table.load().levels


def read(home: Path, since_ns: int | None = None, until_ns: int | None = None) -> dict[str, Metric]:
    return own_metrics.read(home, LEVELS, since_ns=since_ns, until_ns=until_ns)


def test_counters_add_up_and_gauges_are_as_last_set(home: Path) -> None:
    for value in (3, 4):
        count("cache.evictions", value)
        gauge("queue.depth", value, unit="{job}")
    gauge("queue.depth", 1, {"queue": "other"}, unit="{job}")
    found = read(home)
    assert found["cache.evictions"].values == (7,)
    assert (found["queue.depth"].values, found["queue.depth"].unit) == ((4, 1), "{job}")
    assert found["queue.depth"].worst("below") == 4
    assert found["queue.depth"].worst("above") == 1


def test_what_was_recorded_outside_the_window_does_not_count(home: Path) -> None:
    count("a", 1)
    middle_ns = time.time_ns()
    count("a", 2)
    assert read(home, since_ns=middle_ns)["a"].values == (2,)
    assert read(home, until_ns=middle_ns)["a"].values == (1,)
    assert read(home, since_ns=middle_ns, until_ns=middle_ns) == {}


def test_what_this_package_records_itself_is_left_out_unless_it_is_a_level(home: Path) -> None:
    gauge("orchestration.agent.active", 3)
    gauge("process.memory.usage", 3)
    assert read(home) == {}


def test_what_the_runtime_says_of_itself_is_shown(home: Path) -> None:
    count("orchestration.message.sent", 2, {"orchestration.message.topic": "t"}, unit="{message}")
    gauge("orchestration.message.unread.age", 3, unit="s")
    assert {name: one.values for name, one in read(home).items()} == {
        "orchestration.message.sent": (2,),
        "orchestration.message.unread.age": (3,),
    }


def test_a_gauge_that_was_not_set_for_long_is_forgotten(home: Path) -> None:
    now_ns = time.time_ns()
    for age_s, value in ((600, 9), (1, 5)):
        at_ns = now_ns - age_s * 10**9
        point = otlp_json.encode_point(value, {"age": age_s}, at_ns, at_ns)
        line = otlp_json.metrics_prefix("") + otlp_json.encode_gauge("g", "", point)
        assert spool.append(spool.METRICS, otlp_json.to_bytes(line + otlp_json.LINE_SUFFIX))
    assert read(home)["g"].values == (5,)


def test_what_a_process_has_counted_in_all_counts_from_the_window_on(home: Path) -> None:
    start_ns = time.time_ns() - 60 * 10**9
    for seconds, value in ((1, 10), (10, 25), (20, 5), (30, 9)):  # it began anew at 20
        at_ns = start_ns + seconds * 10**9
        point = (
            f'{{"attributes":[],"startTimeUnixNano":"{start_ns}","timeUnixNano":"{at_ns}",'
            f'"asInt":"{value}"}}'
        )
        line = (
            '{"resourceMetrics":[{"resource":{},"scopeMetrics":[{"scope":{},"metrics":[{"name":"c",'
            f'"unit":"","sum":{{"dataPoints":[{point}],"aggregationTemporality":2,'
            '"isMonotonic":true}}]}]}]}\n'
        )
        assert spool.append(spool.METRICS, line.encode())
    assert read(home)["c"].values == (34,)
    assert read(home, since_ns=start_ns + 5 * 10**9)["c"].values == (24,)


def test_lines_that_make_no_sense_cost_only_themselves(home: Path) -> None:
    count("a", 1)
    with (home / "spool" / "metrics-000001.jsonl").open("ab") as segment:
        segment.write(b'{"name":"a"\n{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a",')
        segment.write(b'"sum":{"dataPoints":[{"asInt":"x"}]}}]}]}]}\n')
        segment.write(b'{"resourceMetrics":7,"x":{"name":"a"}}\n\xff{"name":"\xff"}\n')
    count("a", 1)
    assert read(home)["a"].values == (2,)


def test_a_home_without_any_has_none(home: Path) -> None:
    assert read(home) == {}
