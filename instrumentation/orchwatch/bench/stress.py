"""A steady load for minutes: what grows while nothing should."""

from __future__ import annotations

import os
import statistics
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil

from orchwatch.analysis import comparison
from orchwatch.analysis.benchmark_load import Growth, Stress
from orchwatch.analysis.comparison import Measurement
from orchwatch.bench import load
from orchwatch.targets import target_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchwatch.bench.measuring import Sample
    from orchwatch.bench.workers import Workers

_S_PER_HOUR = 3600
# The first of these is left out: caches fill then, and modules are imported.
_PARTS = 5
# A page more is no leak.
_LEAST_BYTES = 1024 * 1024


@dataclass
class _Watch:
    """Looks at the processes once a second."""

    at_s: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    files: list[float] = field(default_factory=list)
    storage: list[float] = field(default_factory=list)
    samples: list[tuple[float, Sample]] = field(default_factory=list)

    def look(self, workers: Workers, passed_s: float, samples: Sequence[Any]) -> None:
        memory = files = 0
        for pid in workers.pids:
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                memory += process.memory_info().rss
                files += process.num_fds()
        self.at_s.append(passed_s)
        self.memory.append(memory)
        self.files.append(files)
        self.storage.append(_bytes_below(workers.scratch))
        self.samples += [(passed_s, sample) for sample in samples]


def run(components: Sequence[str], *, processes: int, rate: float, duration_s: float) -> Stress:
    """Keeps a steady load up and compares its end with its beginning.

    Raises:
        OrchwatchError: A component cannot be used, or it was ended.
    """
    watch = _Watch()
    done = load.run(
        components, processes=processes, rate=rate, duration_s=duration_s, look=watch.look
    )
    part_s = duration_s / _PARTS
    # Nothing behind the end, when workers close what they hold: a leak would look mended.
    early, late = (part_s, 2 * part_s), (duration_s - part_s, duration_s)
    thresholds = target_table.comparison()
    return Stress(
        load=done,
        drift=tuple(
            comparison.compare(
                _measured(watch.samples, *early), _measured(watch.samples, *late), thresholds
            )
        ),
        growth=tuple(
            _growth(
                name,
                unit,
                _within(watch.at_s, values, early) or values[:1],
                _within(watch.at_s, values, late) or values[-1:],
                hours=(late[0] - early[0]) / _S_PER_HOUR,
                tolerated=thresholds.tolerated,
            )
            for name, unit, values in (
                ("memory", "By", watch.memory),
                ("open files", "{file}", watch.files),
                ("storage", "By", watch.storage),
            )
            if values
        ),
    )


def _measured(
    samples: Sequence[tuple[float, Sample]], since_s: float, until_s: float
) -> list[Measurement]:
    """What was measured between two moments, by operation."""
    within: dict[tuple[str, str], list[Sample]] = {}
    for at_s, sample in samples:
        if since_s <= at_s < until_s:
            within.setdefault((sample[0], sample[1]), []).append(sample)
    return [
        Measurement(
            operation=operation,
            component=component,
            samples_s=tuple(sample[2] for sample in found if sample[2] is not None),
            loops_s=tuple(sample[3] for sample in found if sample[2] is not None),
            failures=sum(sample[4] is not None for sample in found),
        )
        for (component, operation), found in within.items()
    ]


def _growth(
    name: str,
    unit: str,
    first: Sequence[float],
    last: Sequence[float],
    *,
    hours: float,
    tolerated: float,
) -> Growth:
    before, after = statistics.median(first), statistics.median(last)
    # A file more that stays open is one too many; memory varies.
    least = max(_LEAST_BYTES, before * tolerated) if unit == "By" else 1
    more = after - before
    return Growth(
        name=name,
        unit=unit,
        before=before,
        after=after,
        per_hour=more / hours,
        grew=min(last) > max(first) and more >= least,
    )


def _within(
    at_s: Sequence[float], values: Sequence[float], part: tuple[float, float]
) -> list[float]:
    return [value for at, value in zip(at_s, values, strict=True) if part[0] <= at < part[1]]


def _bytes_below(directory: Path) -> int:
    size = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):  # removed meanwhile
                size += os.lstat(os.path.join(folder, name)).st_size
    return size
