"""Noise is no regression, and a regression is no noise."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchwatch.analysis import comparison
from orchwatch.analysis.comparison import Measurement
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchwatch.analysis.comparison import Change

# What 300 iterations of real components took on two busy cores.
RECORDED: dict[str, list[float]] = json.loads(
    (Path(__file__).parents[2] / "data" / "benchmark_noise.json").read_text()
)
RUNS = 20
ITERATIONS = 100


def heavy_tails(source: random.Random) -> float:
    return 1 + 0.03 * source.paretovariate(1.5)


def two_modes(source: random.Random) -> float:
    return (1.0 if source.random() < 0.6 else 1.5) * source.lognormvariate(0, 0.03)


def even_modes(source: random.Random) -> float:
    return (1.0 if source.random() < 0.5 else 1.5) * source.lognormvariate(0, 0.03)


def narrow(source: random.Random) -> float:
    return source.lognormvariate(0, 0.05)


MADE = [heavy_tails, two_modes, even_modes, narrow]


def made(shape: Callable[[random.Random], float], seed: int) -> list[float]:
    source = random.Random(seed)
    return [shape(source) / 1000 for _ in range(ITERATIONS)]


def drawn(recorded: list[float], seed: int) -> list[float]:
    """A run of that component: pieces of what it took, as one slow moment covers several."""
    source = random.Random(seed)
    found: list[float] = []
    while len(found) < ITERATIONS:
        start = source.randrange(len(recorded) - 10)
        found += recorded[start : start + 10]
    return found[:ITERATIONS]


def measured(
    samples_s: list[float], *, failures: int = 0, loops_s: list[float] | None = None
) -> Measurement:
    return Measurement(
        operation="state.query",
        component="state",
        samples_s=tuple(samples_s),
        loops_s=tuple(loops_s or ()),
        failures=failures,
    )


def compared(before: Measurement, after: Measurement) -> Change:
    (change,) = comparison.compare([before], [after], target_table.comparison())
    return change


@pytest.mark.any_python
@pytest.mark.parametrize("shape", MADE)
def test_of_20_identical_runs_at_least_19_are_stable(
    shape: Callable[[random.Random], float],
) -> None:
    first = measured(made(shape, 0))
    verdicts = [compared(first, measured(made(shape, seed))).verdict for seed in range(1, RUNS + 1)]
    assert verdicts.count("stable") >= RUNS - 1


@pytest.mark.any_python
@pytest.mark.parametrize("name", RECORDED)
def test_of_20_identical_runs_of_a_real_component_at_least_19_are_stable(name: str) -> None:
    first = measured(drawn(RECORDED[name], 0))
    verdicts = [
        compared(first, measured(drawn(RECORDED[name], seed))).verdict
        for seed in range(1, RUNS + 1)
    ]
    assert verdicts.count("stable") >= RUNS - 1


@pytest.mark.any_python
@pytest.mark.parametrize("shape", MADE)
def test_a_slowdown_of_a_fifth_is_a_regression(shape: Callable[[random.Random], float]) -> None:
    for seed in range(10):
        slower = [value * 1.2 for value in made(shape, 100 + seed)]
        change = compared(measured(made(shape, seed)), measured(slower))
        assert change.verdict == "regression"
        assert change.low is not None
        assert change.high is not None
        assert 0 < change.low < 0.2 < change.high


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [
        (0.8, "significant_improvement"),
        (0.95, "improvement"),
        (1.0, "stable"),
        (1.05, "stable"),
        (1.2, "regression"),
    ],
)
def test_the_four_classes_are_those_of_the_requirements(factor: float, verdict: str) -> None:
    steady = [0.01 + 0.000001 * number for number in range(100)]
    assert compared(measured(steady), measured([v * factor for v in steady])).verdict == verdict


def test_the_thresholds_are_those_of_the_table() -> None:
    steady = [0.01 + 0.000001 * number for number in range(100)]
    edge = 1 + target_table.comparison().tolerated
    for factor, verdict in ((edge - 0.001, "stable"), (edge + 0.001, "regression")):
        changed = measured([value * factor for value in steady])
        assert compared(measured(steady), changed).verdict == verdict


def test_a_machine_that_became_slower_itself_is_no_regression() -> None:
    before = measured(made(narrow, 1), loops_s=[0.001] * 100)
    slower = [value * 1.2 for value in made(narrow, 2)]
    assert compared(before, measured(slower, loops_s=[0.001] * 100)).verdict == "regression"
    on_a_slow_one = compared(before, measured(slower, loops_s=[0.0013] * 100))
    assert on_a_slow_one.verdict == "stable"
    assert on_a_slow_one.noise == pytest.approx(0.3)


def test_one_very_slow_iteration_changes_nothing() -> None:
    slow = made(narrow, 2)
    slow[50] = 30.0
    change = compared(measured(made(narrow, 1)), measured(slow))
    assert change.verdict == "stable"
    assert change.change is not None
    assert abs(change.change) < 0.05


def test_more_failures_than_chance_gives_are_a_regression_however_fast_the_others() -> None:
    fast = measured(made(narrow, 1))
    change = compared(fast, measured(made(narrow, 2), failures=10))
    assert (change.verdict, change.why) == ("regression", "more of them fail")
    assert compared(fast, measured(made(narrow, 2), failures=1)).verdict == "stable"
    often = measured(made(narrow, 1), failures=10)
    assert compared(often, measured(made(narrow, 2), failures=12)).verdict == "stable"


def test_failures_among_thousands_are_judged_too() -> None:
    few = replace(measured(made(narrow, 1), failures=50), succeeded=10_000)
    assert compared(few, replace(few, failures=60)).verdict == "stable"
    change = compared(few, replace(few, failures=150))
    assert (change.verdict, change.why) == ("regression", "more of them fail")


def test_what_only_ever_fails_is_a_regression_too() -> None:
    change = compared(measured(made(narrow, 1)), measured([], failures=100))
    assert (change.verdict, change.after_s, change.change) == ("regression", None, None)


@pytest.mark.parametrize(
    ("before", "after"), [([], [0.1] * 9), ([0.1] * 9, []), ([0.1] * 4, [0.1] * 9)]
)
def test_too_few_are_not_judged(before: list[float], after: list[float]) -> None:
    change = compared(measured(before), measured(after))
    assert (change.verdict, change.change, change.low) == ("unknown", None, None)


def test_what_one_side_lacks_is_listed_and_not_judged() -> None:
    old = Measurement(operation="a", component="", samples_s=(0.1,) * 10)
    new = Measurement(operation="b", component="", samples_s=(0.1,) * 10)
    changes = comparison.compare([old], [new], target_table.comparison())
    assert [(one.operation, one.verdict) for one in changes] == [("b", "unknown"), ("a", "unknown")]


def test_durations_of_nothing_are_compared_without_an_error() -> None:
    assert compared(measured([0.0] * 10), measured([0.0] * 10)).verdict == "stable"
    change = compared(measured([0.0] * 10), measured([0.1] * 10))
    assert (change.verdict, change.change) == ("regression", math.inf)


def test_the_same_numbers_always_give_the_same_interval() -> None:
    sides = measured(made(two_modes, 1)), measured(made(two_modes, 2))
    assert compared(*sides) == compared(*sides)


def test_a_million_samples_are_judged_by_some_of_them() -> None:
    many = measured([0.001 + number % 7 * 0.00001 for number in range(1_000_000)])
    assert compared(many, many).verdict == "stable"
