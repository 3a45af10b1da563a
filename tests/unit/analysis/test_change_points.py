"""The commit from which an operation took longer."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orchwatch.analysis import change_points
from orchwatch.analysis.benchmark_runs import Result, Run

if TYPE_CHECKING:
    from collections.abc import Callable

pytest.importorskip("ruptures")

RUNS = 60
MACHINE: dict[str, object] = {
    "host": "h",
    "system": "Linux 6",
    "cpu": "c",
    "cores": 2,
    "memory_bytes": 1 << 30,
    "python": "3.11.7",
    "load": 0.5,
    "noise": 0.1,
}


def narrow(source: random.Random) -> float:
    return source.lognormvariate(0, 0.03)


def heavy_tails(source: random.Random) -> float:
    return 1 + 0.02 * source.paretovariate(2)


SHAPES = [narrow, heavy_tails]


def history(
    shape: Callable[[random.Random], float], seed: int, at: int | None, factor: float = 1.2
) -> list[Run]:
    source = random.Random(seed)
    runs = []
    for number in range(RUNS):
        level_s = 0.01 * shape(source) * (factor if at is not None and number >= at else 1)
        runs.append(run(number, [level_s * source.lognormvariate(0, 0.02) for _ in range(9)]))
    return runs


def run(number: int, samples_s: list[float], machine: dict[str, object] | None = None) -> Run:
    return Run(
        results=(Result(operation="state.query", component="state", samples_s=tuple(samples_s)),),
        machine=machine or MACHINE,
        version="0.1.0",
        commit=f"{number:040x}",
        at=f"2026-11-30T12:00:{number % 60:02}.000Z",
    )


@pytest.mark.any_python
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("at", [8, 20, 37, 52])
def test_the_commit_from_which_it_is_slower_is_found_to_within_one(
    shape: Callable[[random.Random], float], at: int
) -> None:
    for seed in range(3):
        (series,) = change_points.find(history(shape, seed, at))
        (point,) = series.change_points
        assert abs(point.place - at) <= 1
        assert point.commit == f"{point.place:040x}"
        assert point.previous == f"{point.place - 1:040x}"
        assert point.change == pytest.approx(0.2, abs=0.06)


@pytest.mark.any_python
@pytest.mark.parametrize("shape", SHAPES)
def test_without_a_change_there_is_no_change_point(
    shape: Callable[[random.Random], float],
) -> None:
    found = [change_points.find(history(shape, seed, None)) for seed in range(20)]
    assert sum(bool(series.change_points) for (series,) in found) <= 1


def test_two_changes_are_two_points_and_one_of_them_may_be_for_the_better() -> None:
    runs = history(narrow, 1, 20)
    faster = [run(RUNS + number, [0.006 + 0.00001 * number]) for number in range(20)]
    (series,) = change_points.find([*runs, *faster])
    assert [point.change > 0 for point in series.change_points] == [True, False]


def test_one_slow_run_is_no_change_point() -> None:
    runs = history(narrow, 2, None)
    runs[30] = run(30, [0.05] * 9)
    (series,) = change_points.find(runs)
    assert series.change_points == ()


def test_runs_of_another_machine_are_left_out() -> None:
    elsewhere = [run(number, [0.1] * 9, {**MACHINE, "host": "other"}) for number in range(20)]
    (series,) = change_points.find([*elsewhere, *history(narrow, 3, None)])
    assert (len(series.medians_s), series.change_points) == (RUNS, ())


@pytest.mark.parametrize("value", [0.01, 0.0])
def test_runs_that_never_differ_have_none(value: float) -> None:
    (series,) = change_points.find([run(number, [value] * 9) for number in range(RUNS)])
    assert series.change_points == ()


def test_few_runs_have_none() -> None:
    runs = [run(number, [0.01 * (1 + number // 4)]) for number in range(change_points.MIN_RUNS - 1)]
    assert change_points.find(runs)[0].change_points == ()


def test_without_the_library_one_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['ruptures'] = None\n"
        "from orchwatch.analysis import change_points\n"
        "change_points.places([1.0, 1.1] * 20)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "pip install 'orchwatch[history]'" in done.stderr
