from __future__ import annotations

import json
import math
import random
import sys
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.conftest import NOW_NS

from orchwatch.analysis import forecasts
from orchwatch.analysis.forecasts import MIN_STEPS, Forecast
from orchwatch.cli.main import main
from orchwatch.store import small
from orchwatch.store.database import Store
from orchwatch.store.selection import Selection
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.conftest import Record

S = 10**9
MINUTE_NS = 60 * S
TABLE = target_table.load()


def fill(record: Record, value_ms: Callable[[int], float], number: int, *, each: int = 5) -> None:
    """So many minutes until now, each with so many operations."""
    start_ns = NOW_NS // MINUTE_NS * MINUTE_NS - number * MINUTE_NS
    for minute in range(number):
        for one in range(each):
            end_ns = start_ns + minute * MINUTE_NS + one * S
            record("state.query", duration_ns=int(value_ms(minute) * 1e6), end_ns=end_ns)


def made(home: Path, **more: Any) -> dict[str, Forecast]:
    with Store(home) as store:
        asked = {"ahead_ns": 3600 * S, "selection": Selection(history=True), **more}
        found = forecasts.forecast(home, store, targets=TABLE, **asked)
        in_python = small.read(home)
        if in_python is not None:
            again = forecasts.forecast(home, in_python, targets=TABLE, **asked)
            assert [one.past for one in again] == [one.past for one in found]
    return {one.id: one for one in found}


def test_a_latency_that_grows_will_cross_its_target(home: Path, record: Record) -> None:
    draw = random.Random(1)
    fill(record, lambda minute: 20 * math.exp(0.008 * minute + 0.02 * draw.gauss(0, 1)), 100)
    one = made(home)["state.query"]
    assert (one.why, one.step_s, len(one.past), len(one.points)) == (None, 60, 100, 24)
    assert not one.beyond
    crossing = 100 + (math.log(50 / 20) / 0.008 - 100)
    assert one.crosses_ns is not None
    assert one.may_cross_ns is not None
    assert (one.crosses_ns - one.past[0][0]) / MINUTE_NS == pytest.approx(crossing, abs=4)
    assert one.may_cross_ns <= one.crosses_ns
    last = one.points[-1]
    assert last.low_95 < last.low_80 < last.middle < last.high_80 < last.high_95


def test_what_is_missed_already_crosses_nothing(home: Path, record: Record) -> None:
    draw = random.Random(1)
    fill(record, lambda _: 80 + draw.random(), 60)
    one = made(home)["state.query"]
    assert (one.beyond, one.crosses_ns, one.may_cross_ns) == (True, None, None)


@pytest.mark.parametrize(("number", "each"), [(MIN_STEPS - 1, 5), (MIN_STEPS + 20, 4)])
def test_too_short_a_past_is_said_to_be_one(
    home: Path, record: Record, number: int, each: int
) -> None:
    fill(record, lambda _: 20, number, each=each)
    one = made(home)["state.query"]
    assert one.points == ()
    held = number if each == 5 else 0
    assert one.why == f"not enough data: {held} of at least {MIN_STEPS} steps hold figures"


def test_a_forecast_reaches_a_quarter_of_the_past_and_no_further_than_asked(
    home: Path, record: Record
) -> None:
    fill(record, lambda minute: 20 + minute % 3, 80)
    assert len(made(home)["state.query"].points) == 19
    assert len(made(home, ahead_ns=5 * MINUTE_NS)["state.query"].points) == 5


def test_memory_and_storage_are_read_from_the_monitors_gauges(home: Path, record: Record) -> None:
    fill(record, lambda _: 20, 60, each=1)
    lines = []
    for minute in range(60):
        at_ns = NOW_NS - (60 - minute) * MINUTE_NS
        points = [
            {"timeUnixNano": str(at_ns), "asInt": str(400_000_000 + minute * 1_500_000 + low)}
            for low in (0, -1_000_000)
        ]
        metric = {
            "name": "orchestration.session.memory",
            "unit": "By",
            "gauge": {"dataPoints": points},
        }
        broken = {**metric, "gauge": {"dataPoints": [{"timeUnixNano": "x", "asInt": "1"}]}}
        lines += [
            json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [one]}]}]})
            for one in (metric, broken)
        ]
    header = json.dumps({"orchwatch": {"id": "1" * 32}, "resourceMetrics": []})
    (home / "spool" / "metrics-000001.jsonl").write_text("\n".join([header, *lines, '{"torn']))
    memory = made(home)["session.memory"]
    assert (memory.kind, memory.unit, len(memory.past)) == ("level", "By", 60)
    assert memory.past[-1][1] == 488_500_000
    assert memory.points[-1].middle == pytest.approx(488_500_000 + 14 * 1_500_000, rel=0.01)
    assert "session.memory" not in made(home, selection=Selection(operation="state.query"))


def test_steps_are_as_short_as_the_past_allows() -> None:
    for length_s, step_s in (
        (0, 60),
        (12_000, 60),
        (12_001, 300),
        (7 * 86_400, 3600),
        (10**9, 86_400 * 58),
    ):
        assert forecasts.step_of(length_s * S) == step_s * S


@pytest.mark.usefixtures("home")
def test_the_command_says_what_it_knows_and_what_not(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["forecast"]) == 0
    assert "Nothing to go by is stored in " in capsys.readouterr().out
    fill(record, lambda minute: 20 + minute % 3, 60)
    record("odd\n\x1b[31m" + "x" * 300)
    assert main(["forecast"]) == 0
    out = capsys.readouterr().out
    assert "not enough data: 0 of at least 48 steps" in " ".join(out.split())
    assert all(len(line) <= 80 for line in out.splitlines() if "xxx" not in line)
    assert "\x1b" not in out
    assert main(["forecast", "--format", "json", "--ahead", "5m"]) == 0
    found = json.loads(capsys.readouterr().out)["forecasts"][0]
    assert (found["id"], len(found["points"]), found["why"]) == ("state.query", 5, None)
    for words, said in (
        (["--ahead", "all"], "--ahead must be a length such as 6h or 2d, not 'all'"),
        (["--ahead", "0h"], "--ahead must be a length such as 6h or 2d, not '0h'"),
        (["--ahead", "x"], "--ahead must be like 90s, 15m, 24h, 7d, not 'x'"),
    ):
        assert main(["forecast", *words]) == 2
        assert said in capsys.readouterr().err


def test_without_scipy_it_is_named_and_a_report_goes_without(
    home: Path,
    record: Record,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(record, lambda _: 20, MIN_STEPS + 2)
    assert home.exists()
    monkeypatch.delitem(sys.modules, "orchwatch.analysis.projection", raising=False)
    monkeypatch.delattr("orchwatch.analysis.projection", raising=False)
    monkeypatch.setitem(sys.modules, "scipy", None)
    assert main(["forecast"]) == 1
    out, err = capsys.readouterr()
    told = "forecasts need SciPy; install it with: pip install 'orchwatch[forecast]'"
    assert (out, err) == ("", f"orchwatch: {told}\n")
    assert main(["report", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["forecasts"], found["not_forecast"]) == ([], f"{told}.")
    assert found["operations"]["state.query"]["count"] == 5 * (MIN_STEPS + 2)


def test_an_empty_home_has_nothing_to_go_by(home: Path) -> None:
    assert made(home) == {}
