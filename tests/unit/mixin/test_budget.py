from __future__ import annotations

import re

import pytest

from orchwatch.mixin.alerts.budget import Budget, at_most
from orchwatch.mixin.lib import alerting
from orchwatch.mixin.lib.promql import number
from orchwatch.targets.config import Config

SETTINGS = alerting.load(Config())


def budget(objective: float) -> Budget:
    return Budget(
        objective=objective,
        bad_share=lambda window: f"share{window}",
        bad=lambda window: f"bad{window}",
    )


def test_a_burn_lasts_over_both_windows_and_is_more_than_a_coincidence() -> None:
    expr = budget(0.95).burns(SETTINGS)
    for burn in SETTINGS.burns:
        allowed = number(burn.bad_share(0.95))
        assert f"share{burn.long} > {allowed}\n" in expr
        assert f"and share{burn.short} > {allowed}\n" in expr
        assert f"and bad{burn.long} >= {SETTINGS.bad_operations}\n" in expr


def test_where_all_is_promised_one_bad_operation_is_enough() -> None:
    assert budget(1).burns(SETTINGS) == "(\n  share15m > 0\n  and share2m > 0\n)"


@pytest.mark.parametrize("objective", [0.01, 0.3, 0.5, 0.95, 0.999, 0.9999999, 1])
def test_the_cases_lie_on_either_side_of_the_least_share_that_burns(objective: float) -> None:
    found = re.findall(r"share\w+ > ([\d.]+)", budget(objective).burns(SETTINGS))
    least = min(float(share) for share in found)
    fine, bad = budget(objective).firing(SETTINGS)
    assert bad / (fine + bad) > least
    fine, bad = budget(objective).silent(SETTINGS)
    assert bad / (fine + bad) <= least


def test_what_is_allowed_is_said_as_a_person_reads_it() -> None:
    assert at_most(1 - 0.95) == "at most 5% should"
    assert at_most(1 - 0.9999999) == "at most 0.00001% should"
    assert at_most(0) == "none should"
