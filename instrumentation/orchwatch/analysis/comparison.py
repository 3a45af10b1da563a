"""Two measurements of the same operations: what became slower, and what is only noise.

The requirements call a change by how far the mean moved. A mean follows its slowest few, and a
machine is never twice the same, so here medians decide, and only beyond doubt. The change is the
median of how far each decile moved, the median among them: where durations have two modes, the
median alone jumps from one to the other. Around it lies a bootstrap interval, widened by how much
the machine itself became slower or faster.
"""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchwatch.targets.target_table import Comparison as Thresholds

Verdict = Literal["significant_improvement", "improvement", "stable", "regression", "unknown"]

# One verdict in a hundred may call noise a change; a run has some ten of them.
CONFIDENCE = 0.99
RESAMPLES = 1000
# Of fewer iterations the median says too little.
MIN_SAMPLES = 5
# What a resample draws from is no more than this, evenly over the measurement.
MAX_SAMPLES = 400
# The slowest of the loops say what else the machine did at that moment.
_KEPT_SHARE_OF_LOOPS = 0.9
# At this confidence, t is wider by 2.5 over the degrees of freedom, to within a few per cent.
_STUDENT = 2.5
_SEED = 20_260_101


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One operation, measured.

    Attributes:
        operation: Its name.
        component: What was benchmarked; empty for recorded operations.
        samples_s: Seconds that each took which succeeded, in order.
        loops_s: What the same empty loop took in between; empty where there was none.
        failures: How many failed.
        succeeded: How many succeeded, where `samples_s` is only some of them.
    """

    operation: str
    component: str
    samples_s: tuple[float, ...]
    loops_s: tuple[float, ...] = ()
    failures: int = 0
    succeeded: int | None = None

    @property
    def count(self) -> int:
        """How many succeeded."""
        return len(self.samples_s) if self.succeeded is None else self.succeeded


@dataclass(frozen=True, kw_only=True)
class Change:
    """What became of one operation; shares are of what it took before, more than 0 is slower.

    Attributes:
        operation: Its name.
        component: What was benchmarked; empty for recorded operations.
        before_s: Its median before; None where it was not measured.
        after_s: Its median after, likewise.
        before_count: How many succeeded before.
        after_count: How many succeeded after.
        before_failures: How many failed before.
        after_failures: How many failed after.
        change: How much longer the median is.
        low: Where that lies at least, with `CONFIDENCE`.
        high: Where it lies at most.
        noise: How much slower or faster the machine itself was; None where not measured.
        verdict: `unknown` where either side has too few.
        why: What made it a regression, where that is not the median.
    """

    operation: str
    component: str
    before_s: float | None
    after_s: float | None
    before_count: int
    after_count: int
    before_failures: int
    after_failures: int
    change: float | None
    low: float | None
    high: float | None
    noise: float | None
    verdict: Verdict
    why: str = ""


def compare(
    before: Sequence[Measurement], after: Sequence[Measurement], thresholds: Thresholds
) -> list[Change]:
    """Each operation of either side, in the order of `after` and then of `before`."""
    earlier = {(one.operation, one.component): one for one in before}
    later = {(one.operation, one.component): one for one in after}
    return [
        _change(key, earlier.get(key), later.get(key), thresholds)
        for key in [*later, *(key for key in earlier if key not in later)]
    ]


def relative_interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Where the relative change lies, see `typical_change`, with `CONFIDENCE`.

    A circular block bootstrap: what follows each other stays together, as a slow moment of a
    machine covers several (Politis and Romano, 1992). Blocks are the square root of the number.
    Few blocks know too little of how much they differ, so the interval is stretched, about as much
    as Student's t is wider than the normal distribution. The same numbers always give the same.
    """
    source = random.Random(_SEED)  # noqa: S311 - a draw, and nothing secret
    olds, news = _resampled(before, source), _resampled(after, source)
    changes = sorted(map(_moved, olds, news))
    beyond = round((1 - CONFIDENCE) / 2 * RESAMPLES)
    middle = typical_change(before, after)
    stretch = 1 + _STUDENT / math.isqrt(min(len(before), len(after)))
    low, high = changes[beyond], changes[-1 - beyond]
    return min(low, middle + (low - middle) * stretch), max(
        high, middle + (high - middle) * stretch
    )


def typical_change(before: Sequence[float], after: Sequence[float]) -> float:
    """How much longer the deciles are, as a share: the median of the nine."""
    return _moved(_deciles(sorted(before)), _deciles(sorted(after)))


def machine_change(before: Sequence[float], after: Sequence[float]) -> float | None:
    """How much the same empty loop differs, by its median or by its mean without the slowest."""
    if len(before) < MIN_SAMPLES or len(after) < MIN_SAMPLES:
        return None
    return max(
        abs(_ratio(level(after), level(before))) for level in (statistics.median, _trimmed_mean)
    )


def spread(loops_s: Sequence[float]) -> float | None:
    """How far the 95th percentile of a loop lies above its median, as a share; None of few."""
    if len(loops_s) < MIN_SAMPLES:
        return None
    ordered = sorted(loops_s)
    return _ratio(ordered[len(ordered) * 95 // 100], statistics.median(ordered))


def _change(
    key: tuple[str, str],
    before: Measurement | None,
    after: Measurement | None,
    thresholds: Thresholds,
) -> Change:
    old = before.samples_s if before else ()
    new = after.samples_s if after else ()
    old_failures = before.failures if before else 0
    new_failures = after.failures if after else 0
    change = low = high = noise = None
    verdict: Verdict = "unknown"
    why = ""
    if len(old) >= MIN_SAMPLES and len(new) >= MIN_SAMPLES:
        change = typical_change(old, new)
        low, high = relative_interval(thinned(old), thinned(new))
        noise = machine_change(before.loops_s if before else (), after.loops_s if after else ())
        wider = max(noise or 0, thresholds.least_noise)
        low, high = max(low - wider, -1.0), high + wider  # no time is less than none
        verdict = _verdict(change, low, high, thresholds)
    old_count = before.count if before else 0
    new_count = after.count if after else 0
    if after and before and _fails_more(old_count, old_failures, new_count, new_failures):
        verdict, why = "regression", "more of them fail"
    return Change(
        operation=key[0],
        component=key[1],
        before_s=statistics.median(old) if old else None,
        after_s=statistics.median(new) if new else None,
        before_count=old_count,
        after_count=new_count,
        before_failures=old_failures,
        after_failures=new_failures,
        change=change,
        low=low,
        high=high,
        noise=noise,
        verdict=verdict,
        why=why,
    )


def _verdict(change: float, low: float, high: float, thresholds: Thresholds) -> Verdict:
    if low > 0 and change > thresholds.tolerated:
        return "regression"
    if high < 0:
        return "significant_improvement" if -change > thresholds.significant else "improvement"
    return "stable"


def _fails_more(succeeded: int, failed: int, now_succeeded: int, now_failed: int) -> bool:
    """Fisher's exact test, one-sided: whether so many failures now are more than chance."""
    before, now = succeeded + failed, now_succeeded + now_failed
    failures = failed + now_failed
    if not before or not now or not now_failed:
        return False
    all_ways = _log_ways(
        before + now, failures
    )  # of thousands, no float holds more than its logarithm
    likely = sum(
        math.exp(_log_ways(now, some) + _log_ways(before, failures - some) - all_ways)
        for some in range(now_failed, min(now, failures) + 1)
        if failures - some <= before
    )
    return likely < 1 - CONFIDENCE


def _log_ways(all_of_them: int, chosen: int) -> float:
    return (
        math.lgamma(all_of_them + 1)
        - math.lgamma(chosen + 1)
        - math.lgamma(all_of_them - chosen + 1)
    )


def _resampled(values: Sequence[float], source: random.Random) -> Iterator[list[float]]:
    """The deciles of one resample after the other."""
    count = len(values)
    length = max(1, math.isqrt(count))
    around = [*values, *values[:length]]
    for _ in range(RESAMPLES):
        drawn: list[float] = []
        while len(drawn) < count:
            start = int(source.random() * count)
            drawn += around[start : start + length]
        del drawn[count:]
        drawn.sort()
        yield _deciles(drawn)


def _deciles(ascending: list[float]) -> list[float]:
    last = len(ascending) - 1
    return [ascending[round(last * tenths / 10)] for tenths in range(1, 10)]


def _moved(old: Sequence[float], new: Sequence[float]) -> float:
    changes = sorted(map(_ratio, new, old))
    return changes[len(changes) // 2]


def thinned(values: Sequence[float]) -> Sequence[float]:
    """`MAX_SAMPLES` of them at most, evenly from first to last."""
    if len(values) <= MAX_SAMPLES:
        return values
    return [values[place * len(values) // MAX_SAMPLES] for place in range(MAX_SAMPLES)]


def _trimmed_mean(values: Sequence[float]) -> float:
    kept = sorted(values)[: math.ceil(len(values) * _KEPT_SHARE_OF_LOOPS)]
    return statistics.fmean(kept)


def _ratio(new: float, old: float) -> float:
    """How much more the one is than the other; of nothing, anything is infinitely more."""
    if old:
        return new / old - 1
    return math.inf if new else 0.0
