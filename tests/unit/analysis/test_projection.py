"""The intervals hold the truth as often as they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from orchwatch.analysis.forecasts import MIN_STEPS, REACH
from orchwatch.analysis.projection import INTERVALS, project

DAY = 24
Series = np.ndarray[Any, np.dtype[np.float64]]


def autoregressive(noise: Series, share: float) -> Series:
    found = np.zeros_like(noise)
    found[0] = noise[0] / np.sqrt(1 - share**2) if share < 1 else noise[0]
    for place in range(1, len(noise)):
        found[place] = share * found[place - 1] + noise[place]
    return found


def made(kind: str, draw: np.random.Generator, length: int) -> Series:
    at = np.arange(length)
    noise = draw.normal(size=length)
    wave = 2 * np.sin(2 * np.pi * at / DAY + draw.uniform(0, 6)) + np.cos(4 * np.pi * at / DAY)
    return {
        "noise": noise,
        "a trend": noise + draw.normal() * 0.05 * at,
        "autoregressive": autoregressive(noise, 0.7),
        "slow": autoregressive(noise, 0.9),
        "a walk": autoregressive(noise, 1.0),
        "a season": wave + noise + 0.01 * at,
        "a season, autoregressive": wave + autoregressive(noise, 0.6),
        "heavy tails": draw.standard_t(4, size=length),
        "slow and noisy": autoregressive(noise, 0.9) + 2 * draw.normal(size=length),
    }[kind]


@pytest.mark.any_python
@pytest.mark.parametrize("length", [64, 160])
@pytest.mark.parametrize(
    "kind",
    [
        "noise", "a trend", "autoregressive", "slow", "a walk", "a season",
        "a season, autoregressive", "heavy tails", "slow and noisy",
    ],
)  # fmt: skip
def test_the_intervals_hold_the_share_that_they_say(kind: str, length: int) -> None:
    draw = np.random.default_rng(length)
    number, ahead = 80, length // REACH
    held = dict.fromkeys(INTERVALS, 0.0)
    for _ in range(number):
        series = made(kind, draw, length + ahead)
        truth = series[length:]
        found = project(
            range(length), series[:length].tolist(), range(length, length + ahead), (DAY,)
        )
        for share, (low, high) in found.intervals.items():
            held[share] += float(np.mean((low <= truth) & (truth <= high))) / number
    # Of 80 series, each of whose steps lean on each other.
    assert 0.8 - 0.09 < held[0.8] < 0.8 + 0.09
    assert 0.95 - 0.05 < held[0.95] <= 0.995


def test_a_trend_and_a_season_go_on() -> None:
    draw = np.random.default_rng(1)
    at = np.arange(6 * DAY)
    series = 10 + 0.1 * at + 3 * np.sin(2 * np.pi * at / DAY) + 0.1 * draw.normal(size=len(at))
    kept = [place for place in range(5 * DAY) if place % 7]  # some are missing
    found = project(kept, series[kept].tolist(), range(5 * DAY, 6 * DAY), (DAY, 7 * DAY))
    assert found.slope == pytest.approx(0.1, abs=0.01)
    assert found.season == DAY
    assert np.abs(np.array(found.middle) - series[5 * DAY :]).max() < 0.5


def test_noise_has_no_season_and_a_constant_stays() -> None:
    draw = np.random.default_rng(2)
    assert project(range(100), draw.normal(size=100).tolist(), [100], (DAY,)).season is None
    found = project(range(MIN_STEPS), [5.0] * MIN_STEPS, [50, 60])
    assert found.middle == pytest.approx((5, 5))
    assert all(np.isfinite(found.intervals[0.95]).ravel())


def test_wider_shares_and_farther_steps_are_wider() -> None:
    draw = np.random.default_rng(3)
    found = project(range(100), np.cumsum(draw.normal(size=100)).tolist(), range(100, 125))
    widths = {
        share: np.array(high) - np.array(low) for share, (low, high) in found.intervals.items()
    }
    assert (widths[0.95] > widths[0.8]).all()
    assert (np.diff(widths[0.8]) > 0).all()
