"""Where a series of values goes: trend, season, and how far the truth may lie from both.

Generalized least squares: a line, waves of a day or a week where the past shows them, and errors
that forget exponentially, as an AR(1) process does, over whatever steps are missing. How fast they
forget is not known: every answer of a grid counts by its restricted likelihood, and each season by
its BIC, so that the interval holds what is not known of them, of the coefficients, and of the noise
(Stein, Interpolation of Spatial Data, 1999, 6.4; Hoeting and others, Bayesian Model Averaging,
1999).

Needs SciPy, which is an extra. `statsmodels` does as much, and takes seconds to import.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchwatch.errors import MissingExtraError

# Matrices of a hundred rows: threads would wait for each other longer than they work.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
try:
    import numpy as np
    from scipy import linalg, special
except ModuleNotFoundError as error:
    raise MissingExtraError(
        "forecasts need SciPy; install it with: pip install 'orchwatch[forecast]'"
    ) from error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Array = np.ndarray[Any, np.dtype[np.float64]]

INTERVALS = (0.8, 0.95)
_HARMONICS = 2
# Steps after which an error is forgotten to a third.
_MEMORIES = (0.3, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
# What of the variance is noise of a single step.
_NUGGETS = (0.0, 0.3, 0.6, 0.9)
# A model whose log-likelihood is so far below the best one's changes no interval.
_NEGLIGIBLE = -9.0
_LEAST_SCALE = 1e-12


@dataclass(frozen=True, kw_only=True)
class Projection:
    """What is to be expected at each moment asked for.

    Attributes:
        middle: Medians.
        intervals: By probability, the lowest and the highest values.
        slope: Of the line, a step.
        season: The period, in steps, that most of the likelihood is for; None without.
    """

    middle: tuple[float, ...]
    intervals: dict[float, tuple[tuple[float, ...], tuple[float, ...]]]
    slope: float
    season: float | None


@dataclass(frozen=True)
class _Model:
    """One answer: Student's t at each moment, its log-likelihood, and what it says of the line."""

    likelihood: float
    season: tuple[float, ...]
    means: Array
    scales: Array
    freedom: int
    slope: float


def project(
    times: Sequence[float],
    values: Sequence[float],
    ahead: Sequence[float],
    periods: Sequence[float] = (),
) -> Projection:
    """Goes on with a series.

    Args:
        times: In steps, ascending; some may be missing.
        values: At each of them; more than a dozen.
        ahead: The moments that are asked for, in the same steps.
        periods: Of seasons that may be there, in steps, the shortest first.
    """
    at, seen, asked = (np.asarray(one, dtype=float) for one in (times, values, ahead))
    # Numbers near 1 keep what follows exact.
    middle, width = float(np.mean(seen)), float(np.std(seen)) or 1.0
    seasons = [tuple(periods[:number]) for number in range(len(periods) + 1)]
    models = [
        model for season in seasons for model in _models(at, (seen - middle) / width, asked, season)
    ]
    best = max(model.likelihood for model in models)
    kept = [model for model in models if model.likelihood - best > _NEGLIGIBLE]
    shares = np.exp(np.array([model.likelihood - best for model in kept]))
    shares /= shares.sum()
    by_season = {
        season: float(shares[[model.season == season for model in kept]].sum())
        for season in seasons
    }
    likely = max(by_season, key=lambda season: by_season[season])

    # One Student's t with the mean and the variance of all.
    means = np.array([model.means for model in kept])
    scales = np.array([model.scales for model in kept])
    freedom = min(model.freedom for model in kept)
    mean = shares @ means
    scale = np.sqrt(shares @ (scales**2 + (means - mean) ** 2))

    def quantile(share: float) -> tuple[float, ...]:
        beyond = float(special.stdtrit(freedom, share))
        return tuple(((mean + scale * beyond) * width + middle).tolist())

    return Projection(
        middle=quantile(0.5),
        intervals={
            share: (quantile((1 - share) / 2), quantile((1 + share) / 2)) for share in INTERVALS
        },
        slope=float(sum(shares * [model.slope for model in kept])) * width,
        season=likely[-1] if likely else None,
    )


def _models(at: Array, seen: Array, asked: Array, season: tuple[float, ...]) -> Iterator[_Model]:
    """Each of the grid, with likelihoods that compare across seasons."""
    origin = at[-1]
    design, asked_design = (_design(moments - origin, season) for moments in (at, asked))
    count, width = design.shape
    freedom = count - width
    gaps = np.abs(at[:, None] - at[None, :])
    asked_gaps = np.abs(asked[:, None] - at[None, :])
    found = []
    for memory in _MEMORIES:
        smooth, asked_smooth = np.exp(-gaps / memory), np.exp(-asked_gaps / memory)
        for nugget in _NUGGETS if memory > 1 else (0.0,):
            covariance = (1 - nugget) * smooth
            covariance[np.diag_indices(count)] = 1.0
            lower = linalg.cholesky(covariance, lower=True)
            whitened = linalg.solve_triangular(lower, np.column_stack([design, seen]), lower=True)
            basis, triangle = np.linalg.qr(whitened[:, :width])
            rest = whitened[:, width] - basis @ (basis.T @ whitened[:, width])
            coefficients = linalg.solve_triangular(triangle, basis.T @ whitened[:, width])
            variance = max(float(rest @ rest) / freedom, _LEAST_SCALE)
            logdet = float(np.log(np.diag(lower)).sum())
            restricted = (
                -logdet
                - float(np.log(np.abs(np.diag(triangle))).sum())
                - freedom / 2 * np.log(variance)
            )
            likelihood = -logdet - count / 2 * np.log(variance * freedom / count)
            cross = (1 - nugget) * asked_smooth
            solved = linalg.solve_triangular(lower, cross.T, lower=True)
            means = asked_design @ coefficients + solved.T @ rest
            lever = linalg.solve_triangular(
                triangle, (asked_design - solved.T @ whitened[:, :width]).T, trans="T"
            )
            scales = np.sqrt(
                variance
                * np.maximum(1 - (solved**2).sum(axis=0) + (lever**2).sum(axis=0), _LEAST_SCALE)
            )
            found.append((restricted, likelihood, means, scales, float(coefficients[1])))
    best = max(restricted for restricted, *_ in found)
    bic = max(likelihood for _, likelihood, *_ in found) - width / 2 * np.log(count)
    total = sum(np.exp(restricted - best) for restricted, *_ in found)
    for restricted, _, means, scales, slope in found:
        weight = restricted - best + bic - float(np.log(total))
        yield _Model(weight, season, means, scales, freedom, slope)


def _design(moments: Array, season: tuple[float, ...]) -> Array:
    columns = [np.ones_like(moments), moments]
    for period in season:
        for harmonic in range(1, _HARMONICS + 1):
            angle = 2 * np.pi * harmonic * moments / period
            columns += [np.sin(angle), np.cos(angle)]
    return np.column_stack(columns)
